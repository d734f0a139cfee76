"""An index: for each value the keys of the records that have it, in the order in which they came to have it."""

from __future__ import annotations

from collections.abc import Set as AbstractSet

Index = dict[str, dict[str, None]]
"""Keys by value; a value that no record has is not in it."""


def move(index: Index, key: str, old: AbstractSet[str], new: AbstractSet[str]) -> None:
    """A record had these values, and has those now."""
    for value in old - new:
        keys = index[value]
        del keys[key]
        if not keys:
            del index[value]
    for value in new - old:
        index.setdefault(value, {})[key] = None
