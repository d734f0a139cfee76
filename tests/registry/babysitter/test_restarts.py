"""The budget of restarts."""

from __future__ import annotations

import random
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from registry.babysitter.restarts import LONGEST_DELAY_S, STEADY_S, RestartBudget, RestartRules

LIVES = st.lists(st.floats(0, 2 * STEADY_S), max_size=60)


@given(st.integers(0, 8), st.floats(0.01, 3600), LIVES, st.integers())
def test_budget(most: int, first_s: float, lives: list[float], seed: int) -> None:
    """Restarts end exactly when there were too many without a steady life in between; each wait is in its limits."""
    budget = RestartBudget(RestartRules(most, first_s), random.Random(seed))
    left = most
    for answered_s in lives:
        left = most if answered_s >= STEADY_S else left
        delay_s = budget.next_delay(answered_s)
        if left == 0:
            assert delay_s is None
            return
        left -= 1
        assert delay_s is not None
        base_s = min(max(LONGEST_DELAY_S, first_s), first_s * 2 ** (most - left - 1))
        assert base_s <= delay_s <= 1.25 * base_s


def test_waits_grow() -> None:
    """From the first wait they double, up to the longest."""
    budget = RestartBudget(RestartRules(10_000, 1.0), random.Random(3))
    waits = [budget.next_delay(0.0) or 0.0 for _ in range(1000)]
    assert all(later > earlier for earlier, later in pairwise(waits[:6]))
    assert LONGEST_DELAY_S <= waits[-1] <= 1.25 * LONGEST_DELAY_S
