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
    """One message is under way at a time; what comes until its answer is the next one, sent with the answer."""
    sent = Sent()
    sent.add("a")
    await asyncio.sleep(0)
    sent.add_all("bc")
    await asyncio.sleep(0)
    assert sent.messages == [["a"]]
    sent.go_on()
    assert sent.messages == [["a"], ["b", "c"]]


@on_loop
async def test_who_comes_when_all_is_done_does_not_wait() -> None:
    """After the last answer the next one is sent as the first was."""
    sent = Sent()
    sent.add("a")
    await asyncio.sleep(0)
    sent.go_on()
    sent.add("b")
    await asyncio.sleep(0)
    assert sent.messages == [["a"], ["b"]]


@on_loop
async def test_message_has_only_so_many(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is left waits for the next one."""
    monkeypatch.setattr(gathering, "MOST", 2)
    sent = Sent()
    sent.add_all("abcde")
    await asyncio.sleep(0)
    sent.go_on()
    sent.go_on()
    assert sent.messages == [["a", "b"], ["c", "d"], ["e"]]
