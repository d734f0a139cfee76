"""The backend with the fewest requests in flight; of those that tie, the one that was chosen longest ago."""

from __future__ import annotations

from collections.abc import Mapping, Sequence


def least_pending(backends: Sequence[str], pending: Mapping[str, int], chosen: Mapping[str, int]) -> str:
    """Choose one of some backends.

    Args:
        backends: Their ids, at least one.
        pending: Requests in flight by id; none for an id that is not in it.
        chosen: For each id that was chosen before a number that rises from choice to choice. Without it a tie
            would always fall to the first, which is how one of several idle servers gets all the traffic.

    >>> least_pending(["a", "b", "c"], {"b": 1}, {"a": 7, "c": 4})
    'c'
    """
    fewest = min(pending.get(id, 0) for id in backends)
    tied = [id for id in backends if pending.get(id, 0) == fewest]
    return min(tied, key=lambda id: chosen.get(id, 0))
