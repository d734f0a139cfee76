"""Looking again instead of sleeping, where what is waited for comes at once.

A core that sleeps takes some ten microseconds to wake, more than the owner needs to do a command. Who looks again for
that long instead has the answer sooner. That pays only while there is a core for it, so it is given up where it does
not help: after each look in vain, about twice as many waits as before go by without one. A look that helps is followed
by another at the next wait, and several in a row make all good again. So among many that share the cores it comes to be
done seldom, and who is alone again has it back within some milliseconds.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

SPIN_S = 40e-6
"""How long to look again: about what waking costs at both ends."""

MOST_SKIPPED = 127
"""So many waits at most go by without a look, so one in vain costs each of them less than a third of a microsecond."""

GOOD_AGAIN = 8
"""So many looks in a row that helped. Where one of three is in vain, that is one try in twenty-five."""


class Spinning:
    """Decides, from how it went before, whether to look again.

    Args:
        clock: Gives the time in seconds.

    >>> spinning = Spinning(iter(range(100)).__next__)
    >>> [spinning.until(lambda: None) for _ in range(3)]  # looked, skipped, looked
    [None, None, None]
    >>> spinning.skips
    3

    Attributes:
        skips: After a look in vain, how many waits go by without one.
    """

    __slots__ = ("_clock", "_helped", "_skipped", "skips")

    def __init__(self, clock: Callable[[], float] = time.perf_counter) -> None:
        self._clock = clock
        self._helped = 0
        self._skipped = 0
        self.skips = 0

    def until(self, look: Callable[[], T]) -> T | None:
        """Look until something is seen, for a moment at most; None if nothing was, or if it pays to sleep at once."""
        if self._skipped < self.skips and not self._helped:
            self._skipped += 1
            return None
        end = self._clock() + SPIN_S
        while True:
            seen = look()
            if seen:
                self._helped += 1
                if self._helped >= GOOD_AGAIN:
                    self.skips = 0
                return seen
            if self._clock() > end:
                self._helped = self._skipped = 0
                self.skips = min(MOST_SKIPPED, 2 * self.skips + 1)
                return None
