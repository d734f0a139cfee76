"""Notices that the owner's loop does not turn any more."""

from __future__ import annotations

import logging
from collections.abc import Callable

from actors.processes.reactor import Reactor, Timer
from actors.pulse import Pulse

logger = logging.getLogger(__name__)

LOOKS = 10
"""So many looks in a row must find the count of beats unchanged.

Looks are counted, not seconds: while the machine was suspended, or the whole system frozen, nobody looked either, and
the time that went by says nothing about the owner.
"""


LAST_CHANCE_S = 0.5
"""How long a hung owner has to write its stacks to the log, or to go on after all."""


class HangWatch:
    """Looks at the pulse of a working owner.

    Args:
        pulse: Where it beats.
        hang_s: For how long it may stand still, in seconds.
        reactor: The supervisor's loop.
        stands_still: Called when it has stood still for that long.
        hung: Called when it still does a moment later; the watch ends with that.
    """

    def __init__(
        self,
        pulse: Pulse,
        hang_s: float,
        reactor: Reactor,
        stands_still: Callable[[], None],
        hung: Callable[[], None],
    ) -> None:
        self._pulse = pulse
        self._interval_s = hang_s / LOOKS
        self._reactor = reactor
        self._stands_still = stands_still
        self._hung = hung
        self._next: Timer | None = None
        self._beats = 0
        self._still = 0

    def start(self) -> None:
        """An owner works from now on."""
        self.stop()
        self._beats = self._pulse.beats
        self._still = 0
        self._look_after(self._interval_s, self._look)

    def stop(self) -> None:
        """There is nothing to watch at the moment."""
        if self._next is not None:
            self._next.cancel()
            self._next = None

    def _look(self) -> None:
        beats = self._pulse.beats
        self._still = self._still + 1 if beats == self._beats else 0
        self._beats = beats
        if self._still < LOOKS:
            self._look_after(self._interval_s, self._look)
            return
        self._look_after(LAST_CHANCE_S, self._look_once_more)
        self._stands_still()

    def _look_once_more(self) -> None:
        if self._pulse.beats == self._beats:
            self._next = None
            self._hung()
        else:
            logger.warning("the owner goes on by itself")
            self.start()

    def _look_after(self, delay_s: float, look: Callable[[], None]) -> None:
        self._next = self._reactor.after(delay_s, look)
