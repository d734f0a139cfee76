import itertools

from hypothesis import given
from hypothesis import strategies as st

from actors.ranges import Ranges

NUMBERS = st.integers(1, 40)


@given(st.lists(st.tuples(NUMBERS, st.integers(-2, 6))), NUMBERS)
def test_ranges_are_a_set_of_numbers(added: list[tuple[int, int]], probe: int) -> None:
    """However they overlap, what was put in is in, nothing else is, and ranges never touch each other."""
    ranges = Ranges()
    numbers: set[int] = set()
    for first, more in added:
        if more == 0:
            ranges.add(first)
        else:
            ranges.add_range(first, first + more)
        numbers |= set(range(first, first + more + 1))
    assert (probe in ranges) == (probe in numbers)
    found = ranges.ranges()
    assert [number for first, last in found for number in range(first, last + 1)] == sorted(numbers)
    assert all(before[1] + 1 < after[0] for before, after in itertools.pairwise(found))
    assert ranges.upto == (found[0][1] if found and found[0][0] == 1 else 0)
    assert Ranges(found).ranges() == found


def test_what_is_below_is_there_already() -> None:
    """Nothing that is put in below `upto`, and no range that is none, takes anything away."""
    ranges = Ranges([(1, 5), (8, 9)])
    for first, last in ((2, 3), (5, 5), (9, 3), (7, 6)):
        ranges.add_range(first, last)
    ranges.add(4)
    ranges.raise_to(4)
    assert ranges.ranges() == [(1, 5), (8, 9)]
    assert [number in ranges for number in (-1, 0, 1, 5, 6, 8)] == [False, False, True, True, False, True]


def test_raising_swallows_the_gaps() -> None:
    """Ranges that lie below, or touch the number, become one with it."""
    ranges = Ranges([(1, 2), (4, 5), (8, 9), (12, 13)])
    ranges.raise_to(7)
    assert ranges.ranges() == [(1, 9), (12, 13)]
