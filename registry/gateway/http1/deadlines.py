"""One timer for all connections of a process.

A timer for each request would be set and cancelled thousands of times a second and almost never fire. Here a
connection only writes down when it is due, and one coarse tick looks at them all.
"""

from __future__ import annotations

import asyncio
import math
from typing import Protocol

NEVER = math.inf
"""The deadline of something that may take as long as it likes."""


class Timed(Protocol):
    """Something with a deadline.

    Attributes:
        deadline: In seconds on the event loop's clock, or `NEVER`.
    """

    deadline: float

    def expire(self, now: float) -> None:
        """Act on a deadline that has passed. It must be moved or made `NEVER`, else this is called again."""


class Deadlines:
    """Calls `expire` of whatever is overdue, at most one tick late.

    Args:
        loop: The event loop that runs everything here.
        tick_s: How often to look.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, tick_s: float = 0.5) -> None:
        self._loop = loop
        self._tick_s = tick_s
        self._watched: set[Timed] = set()
        self._timer: asyncio.TimerHandle | None = None

    def watch(self, item: Timed) -> None:
        """Look after `item` until `forget`."""
        self._watched.add(item)
        if self._timer is None:
            self._timer = self._loop.call_later(self._tick_s, self._tick)

    def forget(self, item: Timed) -> None:
        """Look after `item` no longer; it need not be watched."""
        self._watched.discard(item)

    def _tick(self) -> None:
        now = self._loop.time()
        for item in [item for item in self._watched if item.deadline <= now]:
            item.expire(now)
        # With nothing left to watch the loop may sleep undisturbed.
        self._timer = self._loop.call_later(self._tick_s, self._tick) if self._watched else None
