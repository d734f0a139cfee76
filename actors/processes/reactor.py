"""The supervisor's loop: descriptors and timers, and nothing that can block."""

from __future__ import annotations

import heapq
import itertools
import selectors
from collections.abc import Callable

from actors.clock import Clock


class Timer:
    """A call that is due at some instant, unless cancelled."""

    __slots__ = ("callback", "cancelled")

    def __init__(self, callback: Callable[[], None]) -> None:
        self.callback = callback
        self.cancelled = False

    def cancel(self) -> None:
        """Make it not happen."""
        self.cancelled = True


class Reactor:
    """Calls back when a descriptor is ready or an instant has come.

    Args:
        clock: Where instants are read.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._selector = selectors.EpollSelector()
        self._timers: list[tuple[float, int, Timer]] = []
        self._order = itertools.count()

    def watch(self, fd: int, readable: Callable[[], None]) -> None:
        """Call `readable` whenever there is something to read."""
        self._selector.register(fd, selectors.EVENT_READ, readable)

    def forget(self, fd: int) -> None:
        """Stop watching a descriptor, if it is watched; do it before closing it."""
        if fd in self._selector.get_map():
            self._selector.unregister(fd)

    def after(self, delay_s: float, callback: Callable[[], None]) -> Timer:
        """Call back once, this many seconds from now."""
        timer = Timer(callback)
        heapq.heappush(self._timers, (self._clock.monotonic() + delay_s, next(self._order), timer))
        return timer

    def turn(self) -> None:
        """Wait for the next thing to happen and do it."""
        timeout = None
        if self._timers:
            timeout = max(0.0, self._timers[0][0] - self._clock.monotonic())
        for key, _ in self._selector.select(timeout):
            # A callback before this one may have ended the watch.
            if self._selector.get_map().get(key.fd) is key:
                key.data()
        now = self._clock.monotonic()
        while self._timers and self._timers[0][0] <= now:
            timer = heapq.heappop(self._timers)[2]
            if not timer.cancelled:
                timer.callback()

    def close(self) -> None:
        """Give up the descriptors of the loop itself."""
        self._selector.close()
