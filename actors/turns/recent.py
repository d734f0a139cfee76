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
        for noted in list(takewhile(lambda noted: noted.at <= position, self._noted.values())):
            del self._noted[noted.thing]


class Latest(Generic[T]):
    """As `Recent`, for things in no order: a note of one costs a fraction.

    >>> latest = Latest()
    >>> for thing in "abab":
    ...     latest.note(thing)
    >>> latest.since(0), latest.since(3)
    ([Noted(thing='a', at=3, arrived=0), Noted(thing='b', at=4, arrived=0)], [Noted(thing='b', at=4, arrived=0)])

    Attributes:
        latest: Number of the latest change.
    """

    def __init__(self) -> None:
        self.latest = 0
        self._at: dict[T, int] = {}

    def __len__(self) -> int:
        return len(self._at)

    def note(self, thing: T) -> None:
        """It has changed."""
        at = self._at
        at.pop(thing, None)
        self.latest += 1
        at[thing] = self.latest

    def since(self, position: int) -> list[Noted[T]]:
        """What has changed after this number, in order of the latest changes."""
        newest_first = takewhile(lambda noted: noted[1] > position, reversed(self._at.items()))
        return [Noted(thing, at, 0) for thing, at in newest_first][::-1]

    def forget(self, position: int) -> None:
        """Nobody will ask for what has changed up to this number."""
        for thing, _ in list(takewhile(lambda noted: noted[1] <= position, self._at.items())):
            del self._at[thing]
