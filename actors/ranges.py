"""Sets of numbers that are mostly one run from 1 on: which answers have arrived."""

from __future__ import annotations

import bisect
from collections.abc import Iterable

Range = tuple[int, int]
"""First and last of consecutive numbers, both included."""


class Ranges:
    """Numbers from 1 on, kept as ranges: however many there are, memory grows only with the gaps between them.

    >>> seen = Ranges()
    >>> for number in (1, 2, 5, 4, 9):
    ...     seen.add(number)
    >>> seen.ranges()
    [(1, 2), (4, 5), (9, 9)]
    >>> seen.add(3); seen.upto, 9 in seen, 8 in seen
    (5, True, False)

    Attributes:
        upto: All numbers from 1 to here are in it.
        above: What is in it past a gap, as ranges, ascending.
    """

    __slots__ = ("above", "upto")

    def __init__(self, ranges: Iterable[Range] = ()) -> None:
        self.upto = 0
        self.above: list[Range] = []
        for first, last in ranges:
            self.add_range(first, last)

    def add(self, number: int) -> None:
        """Put one number in."""
        if number == self.upto + 1 and not self.above:
            self.upto = number
        elif number > self.upto:
            self.add_range(number, number)

    def raise_to(self, number: int) -> None:
        """Put in all numbers from 1 to this one."""
        if self.above:
            self.add_range(1, number)
        elif number > self.upto:
            self.upto = number

    def add_range(self, first: int, last: int) -> None:
        """Put consecutive numbers in; nothing if `last` comes before `first`."""
        if last < first or last <= self.upto:
            return
        above = self.above
        # Those that the new one touches or overlaps become one with it.
        start = end = bisect.bisect_left(above, first - 1, key=_last)
        while end < len(above) and above[end][0] <= last + 1:
            first = min(first, above[end][0])
            last = max(last, above[end][1])
            end += 1
        above[start:end] = [(first, last)]
        if above[0][0] <= self.upto + 1:
            self.upto = above.pop(0)[1]

    def __contains__(self, number: int) -> bool:
        if number <= self.upto:
            return number > 0
        if not self.above:
            return False
        at = bisect.bisect_left(self.above, number, key=_last)
        return at < len(self.above) and self.above[at][0] <= number

    def ranges(self) -> list[Range]:
        """All of it, ascending."""
        return ([(1, self.upto)] if self.upto else []) + self.above


def _last(one: Range) -> int:
    return one[1]
