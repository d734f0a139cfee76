"""Operations that go to the owner together."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any, TypeVar

import msgspec
import pytest

from actors.errors import OutcomeUnknown
from registry import commands as c
from registry.errors import ServiceNotFound
from registry.gateway.services import gathering
from registry.gateway.services.gathering import Gathering
from registry.operations import Call, Operations
from tests.loops import on_loop

T = TypeVar("T")

UNKNOWN = "unknown"
"""No service has this name."""


class Held:
    """Does what it is told when it is let; the result of an operation is the name it is about.

    Attributes:
        told: The names of each message, in order.
        let: Set while it answers.
        failure: What a message of several fails with, if anything.
    """

    def __init__(self) -> None:
        self.told: list[list[str]] = []
        self.let = asyncio.Event()
        self.failure: Exception | None = None

    async def perform(self, call: Call[T]) -> T:
        """One operation."""
        (outcome,) = await self._do([call])
        if isinstance(outcome, Exception):
            raise outcome
        return outcome  # type: ignore[no-any-return]  # what the test looks for

    async def batch(self, calls: Sequence[Call[Any]]) -> list[Any]:
        """Several."""
        outcomes = await self._do(calls)
        if self.failure is not None:
            raise self.failure
        return outcomes

    async def _do(self, calls: Sequence[Call[Any]]) -> list[Any]:
        names = [msgspec.msgpack.decode(call.command, type=c.Heartbeat).name for call in calls]
        self.told.append(names)
        await self.let.wait()
        return [ServiceNotFound(name) if name == UNKNOWN else name for name in names]


def perform(gathered: Gathering, *names: str) -> list[asyncio.Task[None]]:
    """Begin a heartbeat of each."""
    return [asyncio.create_task(gathered.perform(Operations.heartbeat.call(name))) for name in names]


async def until_told(registry: Held, messages: int) -> None:
    """Let the loop go on until so many messages were sent."""
    async with asyncio.timeout(30):
        while len(registry.told) < messages:  # noqa: ASYNC110 - the stand-in says nothing when it is told
            await asyncio.sleep(0)


@on_loop
async def test_what_comes_meanwhile_goes_together() -> None:
    """The first goes at once and alone; those that come until its answer are one message; each has its own result."""
    registry = Held()
    gathered = Gathering(registry)  # type: ignore[arg-type]  # only these two methods are used
    first = perform(gathered, "a")
    await until_told(registry, 1)
    others = perform(gathered, "b", "c", "d")
    await asyncio.sleep(0)
    registry.let.set()
    assert await asyncio.gather(*first, *others) == ["a", "b", "c", "d"]
    assert registry.told == [["a"], ["b", "c", "d"]]


@on_loop
async def test_one_that_is_refused_is_alone_in_it() -> None:
    """Its error is raised where it was asked for, and the others are done."""
    registry = Held()
    gathered = Gathering(registry)  # type: ignore[arg-type]  # only these two methods are used
    tasks = perform(gathered, "a", "b", UNKNOWN, "c")
    await until_told(registry, 1)
    registry.let.set()
    outcomes = await asyncio.gather(*tasks, return_exceptions=True)
    assert [str(outcome) for outcome in outcomes] == ["a", "b", f"Service '{UNKNOWN}' not found", "c"]


@on_loop
async def test_message_that_fails_fails_for_each(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody waits for ever, and what comes later is sent again; a message has only so many operations."""
    monkeypatch.setattr(gathering, "MOST", 2)
    registry = Held()
    registry.failure = OutcomeUnknown("no answer")
    gathered = Gathering(registry)  # type: ignore[arg-type]  # only these two methods are used
    tasks = perform(gathered, "a", "b", "c", "d")
    await until_told(registry, 1)
    registry.let.set()
    outcomes = await asyncio.gather(*tasks, return_exceptions=True)
    assert [str(outcome) for outcome in outcomes] == ["a", "no answer", "no answer", "no answer"]
    assert registry.told == [["a"], ["b", "c"], ["d"]]
    assert await asyncio.gather(*perform(gathered, "e")) == ["e"]


@on_loop
async def test_client_that_left_holds_nobody_up() -> None:
    """What it has asked for is not sent any more if it still waits; whoever is under way goes on."""
    registry = Held()
    gathered = Gathering(registry)  # type: ignore[arg-type]  # only these two methods are used
    first, left, other = perform(gathered, "a", "b", "c")
    await until_told(registry, 1)
    left.cancel()
    first.cancel()
    await until_told(registry, 2)
    registry.let.set()
    assert await other == "c"  # type: ignore[func-returns-value]  # the stand-in's result
    assert registry.told == [["a"], ["c"]]
