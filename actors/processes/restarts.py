"""When a process that ended is started again: the rules of OTP supervisors, with a back-off."""

from __future__ import annotations

import random
from collections import deque
from enum import StrEnum

import msgspec

from actors.exits import Exit

HEALTHY_S = 1.0
"""A process that lived longer than this after it was ready ended by an accident that says nothing of the next life."""


class Restart(StrEnum):
    """Which ends of a process make the supervisor start it again."""

    PERMANENT = "permanent"
    """Every end."""
    TRANSIENT = "transient"
    """Every end but a clean one (exit code 0)."""
    TEMPORARY = "temporary"
    """None."""


class RestartPolicy(msgspec.Struct, frozen=True):
    """How often and how fast.

    Attributes:
        restart: Which ends count.
        intensity: How many short lives within `window_s` are borne; one more stops the system.
        window_s: In seconds.
        first_delay_s: Wait before the second restart in a row; it doubles from then on. The first is immediate.
        longest_delay_s: Where the doubling ends.
    """

    restart: Restart = Restart.PERMANENT
    intensity: int = 10
    window_s: float = 60.0
    first_delay_s: float = 0.1
    longest_delay_s: float = 5.0


class RestartHistory:
    """The short lives of one process, and what they mean for the next.

    >>> history = RestartHistory(RestartPolicy(intensity=2), random.Random(1))
    >>> history.next_delay(now=0.0, lived_s=None)
    0.0
    >>> 0.1 <= history.next_delay(now=0.0, lived_s=0.2) <= 0.15
    True
    >>> history.next_delay(now=0.3, lived_s=3.0)
    0.0
    >>> history.next_delay(now=0.4, lived_s=0.0) is None
    True
    """

    def __init__(self, policy: RestartPolicy, chance: random.Random) -> None:
        self._policy = policy
        self._chance = chance
        self._short_lives: deque[float] = deque()
        self._in_a_row = 0
        self.restarts = 0

    def wanted(self, end: Exit) -> bool:
        """Whether the policy restarts a process that ended so."""
        restart = self._policy.restart
        return restart is Restart.PERMANENT or (restart is Restart.TRANSIENT and not end.clean)

    def excuse(self) -> float:
        """Note an end that was not the process's own fault; returns the wait before the restart in seconds: none."""
        self.restarts += 1
        return 0.0

    def next_delay(self, now: float, lived_s: float | None) -> float | None:
        """Note an end; returns the wait before the restart in seconds, or None if there were too many.

        Args:
            now: Instant of the end on the monotonic clock.
            lived_s: How long the process had been ready; None if it never was.
        """
        self.restarts += 1
        if lived_s is not None and lived_s > HEALTHY_S:
            self._in_a_row = 0
            return 0.0
        policy = self._policy
        lives = self._short_lives
        lives.append(now)
        while lives[0] <= now - policy.window_s:
            lives.popleft()
        if len(lives) > policy.intensity:
            return None
        self._in_a_row += 1
        if self._in_a_row == 1:
            return 0.0
        delay_s = min(policy.longest_delay_s, policy.first_delay_s * 2.0 ** (self._in_a_row - 2))
        return delay_s * self._chance.uniform(1.0, 1.5)
