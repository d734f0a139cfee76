"""What comes in while messages are under way goes to the owner together, in the next one.

A message costs the owner and both ends of its queue several times what one more heartbeat in it does. When little is
under way nothing waits, so a single client never notices.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Generic, TypeVar

MOST = 200
"""So many at most are sent in one message; the owner does nothing else meanwhile."""

UNDER_WAY = 2
"""So many messages at most are not answered yet: the owner works on one while those of another are being answered."""

T = TypeVar("T")


class Gathering(Generic[T]):
    """Gathers what is to be sent.

    Args:
        send: Sends what was gathered; once it has the answer it calls `answered`.
    """

    def __init__(self, send: Callable[[list[T]], None]) -> None:
        self._send = send
        self._loop = asyncio.get_running_loop()
        self._waiting: list[T] = []
        self._under_way = 0
        self._begins = False

    def add(self, item: T) -> None:
        """Send this, together with whatever else comes in at the same moment or until there is a next message."""
        self._waiting.append(item)
        if self._under_way < UNDER_WAY and not self._begins:
            self._begins = True
            self._loop.call_soon(self._begin)

    def answered(self) -> None:
        """A message is answered: send what has come in meanwhile, if anything has."""
        self._under_way -= 1
        self._go_on()

    def _begin(self) -> None:
        self._begins = False
        self._go_on()

    def _go_on(self) -> None:
        if self._waiting and self._under_way < UNDER_WAY:
            sent, self._waiting = self._waiting[:MOST], self._waiting[MOST:]
            self._under_way += 1
            self._send(sent)
