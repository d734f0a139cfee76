"""What has changed lately: each key once, however often it changed."""

from __future__ import annotations

from collections.abc import Hashable
from itertools import takewhile
from typing import Generic, NamedTuple, TypeVar

T = TypeVar("T", bound=Hashable)


class Noted(NamedTuple, Generic[T]):
    """Something that has changed.

    Attributes:
        thing: What.
        at: Number of its latest change.
        arrived: Number of the change that put it at the end of its order; 0 if none did.
    """

    thing: T
    at: int
    arrived: int


class Recent(Generic[T]):
    """Things that have changed, the latest one last. Whoever knows a number can ask what has changed since.

    >>> recent = Recent()
    >>> for thing in "abab":
    ...     recent.note(thing)
    >>> [noted.thing for noted in recent.since(0)], [noted.thing for noted in recent.since(3)]
    (['a', 'b'], ['b'])

    Attributes:
        latest: Number of the latest change.
    """

    def __init__(self) -> None:
        self.latest = 0
        self._noted: dict[T, Noted[T]] = {}

    def __len__(self) -> int:
        return len(self._noted)

    def note(self, thing: T, *, arrived: bool = False) -> None:
        """It has changed."""
        before = self._noted.pop(thing, None)
        self.latest += 1
        place = self.latest if arrived else before.arrived if before is not None else 0
        self._noted[thing] = Noted(thing, self.latest, place)

    def since(self, position: int) -> list[Noted[T]]:
        """What has changed after this number, in order of the latest changes."""
        newest_first = takewhile(lambda noted: noted.at > position, reversed(self._noted.values()))
        return list(newest_first)[::-1]

    def forget(self, position: int) -> None:
        """Nobody will ask for what has changed up to this number."""
        while self._noted:
            first = next(iter(self._noted.values()))
            if first.at > position:
                return
            del self._noted[first.thing]
