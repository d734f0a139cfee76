"""The time, as an object that is passed in, so that tests can hold it still."""

from __future__ import annotations

import time
from typing import Protocol


class Clock(Protocol):
    """What the runtime needs to know about time."""

    def monotonic(self) -> float:
        """Seconds since the machine started; the same in all its processes."""

    def wall(self) -> float:
        """Seconds since 1970 (UTC), for people; it may jump."""


class SystemClock:
    """The machine's clocks."""

    # Not methods around them: the owner reads the time at every command.
    monotonic = staticmethod(time.monotonic)
    wall = staticmethod(time.time)


class ManualClock:
    """A clock that moves only when told to.

    >>> clock = ManualClock()
    >>> before = clock.monotonic()
    >>> clock.advance(1.5)
    >>> clock.monotonic() - before
    1.5
    """

    def __init__(self, monotonic: float = 1_000.0, wall: float = 1_750_000_000.0) -> None:
        self._monotonic = monotonic
        self._wall = wall

    def monotonic(self) -> float:
        """Seconds since an arbitrary start."""
        return self._monotonic

    def wall(self) -> float:
        """Seconds since 1970 (UTC)."""
        return self._wall

    def advance(self, seconds: float) -> None:
        """Move both clocks forward."""
        self._monotonic += seconds
        self._wall += seconds
