"""Changes of services that come in while others are under way go to the owner together.

A message costs the owner and both ends of its queue several times what one more heartbeat in it does. When nothing is
under way nothing waits, so a single client never notices.
"""

from __future__ import annotations

import asyncio
from typing import Any, TypeVar

from registry.gateway.services.asked import ServicesRegistry
from registry.operations import Call

MOST = 200
"""So many changes at most are sent in one message; the owner does nothing else meanwhile."""

T = TypeVar("T")

_Waiting = tuple[Call[Any], asyncio.Future[Any]]


class Gathering:
    """Performs operations, several at once if there are several.

    Each is done for itself: that one is refused changes nothing for the others.

    Args:
        registry: Who does them.
    """

    def __init__(self, registry: ServicesRegistry) -> None:
        self._registry = registry
        self._loop = asyncio.get_running_loop()
        self._waiting: list[_Waiting] = []
        self._under_way = False
        self._task: asyncio.Task[None] | None = None

    async def perform(self, call: Call[T]) -> T:
        """Do an operation, at once or together with others; raises as it does alone."""
        if self._under_way:
            result: asyncio.Future[T] = self._loop.create_future()
            self._waiting.append((call, result))
            return await result
        self._under_way = True
        try:
            return await self._registry.perform(call)
        finally:
            self._go_on()

    def _go_on(self) -> None:
        """What was under way is done: send what has come in meanwhile."""
        self._under_way = bool(self._waiting)
        if self._waiting:
            self._loop.call_soon(self._look, 0)

    def _look(self, before: int) -> None:
        """Look once more for what else comes in, until nothing does: whoever was answered now asks again."""
        count = len(self._waiting)
        if before < count < MOST:
            self._loop.call_soon(self._look, count)
            return
        sent, self._waiting = self._waiting[:MOST], self._waiting[MOST:]
        self._task = self._loop.create_task(self._send(sent))

    async def _send(self, sent: list[_Waiting]) -> None:
        wanted = [(call, result) for call, result in sent if not result.done()]  # else its client has left
        outcomes: list[Any]
        try:
            outcomes = await self._registry.batch([call for call, _ in wanted]) if wanted else []
        except Exception as error:  # noqa: BLE001 - whatever it is, each of those who wait is told
            outcomes = [error] * len(wanted)
        finally:
            self._go_on()
        for (_, result), outcome in zip(wanted, outcomes, strict=True):
            if result.done():
                continue
            if isinstance(outcome, Exception):
                result.set_exception(outcome)
            else:
                result.set_result(outcome)
