"""Notices that the owner's loop does not turn any more."""

from __future__ import annotations

from collections.abc import Callable

from actors.pulse import Pulse
from actors.reactor import Reactor, Timer

LOOKS = 10
"""So many looks in a row must find the count of beats unchanged.

Looks are counted, not seconds: while the machine was suspended, or the whole system frozen, nobody looked either, and
the time that went by says nothing about the owner.
"""


class HangWatch:
    """Looks at the pulse of a working owner.

    Args:
        pulse: Where it beats.
        hang_s: For how long it may stand still, in seconds.
        reactor: The supervisor's loop.
        hung: Called once when it has stood still; the watch ends with that.
    """

    def __init__(self, pulse: Pulse, hang_s: float, reactor: Reactor, hung: Callable[[], None]) -> None:
        self._pulse = pulse
        self._interval_s = hang_s / LOOKS
        self._reactor = reactor
        self._hung = hung
        self._next: Timer | None = None
        self._beats = 0
        self._still = 0

    def start(self) -> None:
        """An owner works from now on."""
        self.stop()
        self._beats = self._pulse.beats
        self._still = 0
        self._next = self._reactor.after(self._interval_s, self._look)

    def stop(self) -> None:
        """There is nothing to watch at the moment."""
        if self._next is not None:
            self._next.cancel()
            self._next = None

    @property
    def still(self) -> bool:
        """Whether the count is what it was at the last look."""
        return self._pulse.beats == self._beats

    def _look(self) -> None:
        self._still = self._still + 1 if self.still else 0
        self._beats = self._pulse.beats
        self._next = None
        if self._still >= LOOKS:
            self._hung()
        else:
            self._next = self._reactor.after(self._interval_s, self._look)
