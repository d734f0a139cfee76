"""The backend with the fewest requests in flight for its weight; of those that tie, the one chosen longest ago."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping

Rank = tuple[float, int]
"""How a backend stands against others: requests in flight for each unit of its weight, then when it was chosen."""

FULL: Rank = (math.inf, 0)
"""The rank of a backend that has as many requests as it may have."""


def rank(pending: int, weight: int, chosen: int) -> Rank:
    """The rank of a backend that may be given another request.

    Args:
        pending: Requests in flight.
        weight: At least 1.
        chosen: When it was chosen last, as a number that rises from choice to choice; 0 if it was not. Without it a
            tie would always fall to the first, which is how one of several idle servers gets all the traffic.
    """
    return pending / weight, chosen


def least_pending(backends: Iterable[str], ranks: Mapping[str, Rank]) -> str:
    """Choose one of some backends.

    Args:
        backends: Their ids, at least one.
        ranks: The rank of each.

    >>> least_pending(["a", "b", "c"], {"a": rank(0, 1, 7), "b": rank(1, 1, 0), "c": rank(0, 1, 4)})
    'c'
    >>> least_pending(["a", "b"], {"a": rank(2, 1, 0), "b": rank(3, 2, 0)})
    'b'
    """
    return min(backends, key=ranks.__getitem__)
