"""The backend with the fewest requests in flight; those that tie take turns."""

from __future__ import annotations

from collections.abc import Mapping, Sequence


def least_pending(backends: Sequence[str], pending: Mapping[str, int], turn: int) -> str:
    """Choose one of some backends.

    Args:
        backends: Their ids, at least one.
        pending: Requests in flight by id.
        turn: A number that rises from choice to choice, so that a tie does not always fall to the first
            (which is how one of several idle servers gets all the traffic).

    >>> [least_pending(["a", "b", "c"], {"b": 1, "a": 0, "c": 0}, turn) for turn in range(3)]
    ['a', 'c', 'c']
    """
    start = turn % len(backends)
    return min((*backends[start:], *backends[:start]), key=pending.__getitem__)
