"""What comes in while a message is under way goes to the owner together, in the next one.

A message costs the owner and both ends of its queue several times what one more heartbeat in it does. When nothing is
under way nothing waits, so a single client never notices.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Generic, TypeVar

MOST = 200
"""So many at most are sent in one message; the owner does nothing else meanwhile."""

T = TypeVar("T")


class Gathering(Generic[T]):
    """Gathers what is to be sent.

    Args:
        send: Sends what was gathered; once it has the answer it calls `go_on`.
    """

    def __init__(self, send: Callable[[list[T]], None]) -> None:
        self._send = send
        self._loop = asyncio.get_running_loop()
        self._waiting: list[T] = []
        self._under_way = False

    def add(self, item: T) -> None:
        """Send this, together with whatever else comes in at the same moment or until the next message."""
        self._waiting.append(item)
        if not self._under_way:
            self._under_way = True
            self._loop.call_soon(self.go_on)

    def go_on(self) -> None:
        """What was under way is done: send what has come in meanwhile, if anything has."""
        sent, self._waiting = self._waiting[:MOST], self._waiting[MOST:]
        self._under_way = bool(sent)
        if sent:
            self._send(sent)
