"""What goes to the owner together."""

from __future__ import annotations

import asyncio

import pytest

from registry.gateway.services import gathering
from registry.gateway.services.gathering import Gathering
from tests.loops import on_loop


class Sent(Gathering[str]):
    """Gathers names; `messages` has what was sent."""

    def __init__(self) -> None:
        self.messages: list[list[str]] = []
        super().__init__(self.messages.append)

    def add_all(self, names: str) -> None:
        """One after the other."""
        for name in names:
            self.add(name)


@on_loop
async def test_what_comes_at_the_same_moment_goes_together() -> None:
    """Nothing is sent before the present step of the loop is over, and then all of it at once."""
    sent = Sent()
    sent.add_all("abc")
    assert sent.messages == []
    await asyncio.sleep(0)
    assert sent.messages == [["a", "b", "c"]]


@on_loop
async def test_what_comes_meanwhile_goes_next() -> None:
    """Two messages are under way at a time; what comes until an answer is the next one, sent with the answer."""
    sent = Sent()
    for name in "ab":
        sent.add(name)
        await asyncio.sleep(0)
    sent.add_all("cd")
    await asyncio.sleep(0)
    assert sent.messages == [["a"], ["b"]]
    sent.answered()
    assert sent.messages == [["a"], ["b"], ["c", "d"]]
    sent.add("e")
    await asyncio.sleep(0)
    sent.answered()
    assert sent.messages[3:] == [["e"]]


@on_loop
async def test_who_comes_when_all_is_done_does_not_wait() -> None:
    """After the last answer the next one is sent as the first was."""
    sent = Sent()
    for name in "abc":
        sent.add(name)
        await asyncio.sleep(0)
        sent.answered()
    assert sent.messages == [["a"], ["b"], ["c"]]


@on_loop
async def test_what_is_about_to_be_sent_may_go_with_an_answer() -> None:
    """It is sent once, and what comes after it is not forgotten."""
    sent = Sent()
    sent.add("a")
    await asyncio.sleep(0)
    sent.add("b")
    sent.answered()
    sent.add("c")
    await asyncio.sleep(0)
    assert sent.messages == [["a"], ["b"], ["c"]]


@on_loop
async def test_message_has_only_so_many(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is left waits for the next one."""
    monkeypatch.setattr(gathering, "MOST", 2)
    sent = Sent()
    sent.add_all("abcde")
    await asyncio.sleep(0)
    assert sent.messages == [["a", "b"]]
    sent.answered()
    sent.answered()
    assert sent.messages == [["a", "b"], ["c", "d"], ["e"]]
