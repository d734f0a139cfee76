"""Changes of services that come in while others are under way go to the owner together.

A message costs the owner and both ends of its queue several times what one more heartbeat in it does. When nothing is
under way nothing waits, so a single client never notices.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any, Protocol, TypeVar

from actors.errors import ActorsError
from registry.operations import Call

MOST = 200
"""So many changes at most are sent in one message; the owner does nothing else meanwhile."""

T = TypeVar("T")

_Waiting = tuple[Call[Any], asyncio.Future[Any]]


class PerformingRegistry(Protocol):
    """The part of `registry.AsyncRegistry` that is used here."""

    async def perform(self, call: Call[T]) -> T:
        """Ask, await, and read the answer."""

    async def batch(self, calls: Sequence[Call[Any]]) -> list[Any]:
        """Do several operations; in place of the result of one that was refused stands its error."""


class Gathering:
    """Performs operations, several at once if there are several.

    Each is done for itself: that one is refused changes nothing for the others.

    Args:
        registry: Who does them.
    """

    def __init__(self, registry: PerformingRegistry) -> None:
        self._registry = registry
        self._loop = asyncio.get_running_loop()
        self._waiting: list[_Waiting] = []
        self._under_way = False
        self._task: asyncio.Task[None] | None = None

    async def perform(self, call: Call[T]) -> T:
        """Do an operation, alone or together with others; raises as it does alone."""
        result: asyncio.Future[T] = self._loop.create_future()
        self._waiting.append((call, result))
        if not self._under_way:
            self._under_way = True
            self._loop.call_soon(self._look, len(self._waiting))
        return await result

    def _look(self, before: int) -> None:
        """Look once more for what has arrived in the meantime; when nothing has, send all there is."""
        count = len(self._waiting)
        if count > before and count < MOST:
            self._loop.call_soon(self._look, count)
            return
        sent, self._waiting = self._waiting[:MOST], self._waiting[MOST:]
        self._task = self._loop.create_task(self._send(sent))

    def _go_on(self) -> None:
        """Send what has been waiting."""
        self._under_way = bool(self._waiting)
        if self._waiting:
            self._loop.call_soon(self._look, 0)

    async def _send(self, sent: list[_Waiting]) -> None:
        wanted = [(call, result) for call, result in sent if not result.done()]  # else its client has left
        outcomes: list[Any]
        try:
            outcomes = await self._registry.batch([call for call, _ in wanted]) if wanted else []
        except ActorsError as error:
            outcomes = [error] * len(wanted)
        finally:
            self._go_on()
        for (_, result), outcome in zip(wanted, outcomes, strict=True):
            if result.done():
                continue
            if isinstance(outcome, ActorsError):
                result.set_exception(outcome)
            else:
                result.set_result(outcome)
