"""When an AI server that ended is started again, and when no more."""

from __future__ import annotations

import random

import msgspec

STEADY_S = 60.0
"""A server that answered for so long has earned back all that its earlier failures had used up."""

LONGEST_DELAY_S = 60.0
"""Where the doubling of the wait ends, unless the first wait is longer."""


class RestartRules(msgspec.Struct, frozen=True):
    """How often and how fast.

    Attributes:
        max_restarts: How many restarts in a row are tried, without a life of `STEADY_S` in between.
        first_delay_s: Wait before the first of them in seconds; it doubles from then on.
    """

    max_restarts: int = 10
    first_delay_s: float = 1.0


class RestartBudget:
    """The restarts that are left.

    They are counted in a row and not within a time: a server that takes ten minutes to fail would otherwise be started
    for ever.

    >>> budget = RestartBudget(RestartRules(max_restarts=2), random.Random(1))
    >>> 1.0 <= budget.next_delay(answered_s=0.0) <= 1.25
    True
    >>> 2.0 <= budget.next_delay(answered_s=59.0) <= 2.5
    True
    >>> budget.next_delay(answered_s=3.0) is None
    True
    >>> budget.next_delay(answered_s=60.0) is None
    False

    Args:
        rules: How often and how fast.
        chance: Spreads the restarts of servers that failed together.

    Attributes:
        in_a_row: Restarts since the latest steady life.
    """

    def __init__(self, rules: RestartRules, chance: random.Random) -> None:
        self._rules = rules
        self._chance = chance
        self.in_a_row = 0

    def next_delay(self, answered_s: float) -> float | None:
        """Note an end; returns the wait before the restart in seconds, or None if there were too many.

        Args:
            answered_s: How long the server had answered.
        """
        rules = self._rules
        if answered_s >= STEADY_S:
            self.in_a_row = 0
        if self.in_a_row >= rules.max_restarts:
            return None
        self.in_a_row += 1
        longest_s = max(LONGEST_DELAY_S, rules.first_delay_s)
        delay_s = min(longest_s, rules.first_delay_s * 2.0 ** min(self.in_a_row - 1, 64))
        return delay_s * self._chance.uniform(1.0, 1.25)
