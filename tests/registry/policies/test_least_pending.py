from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from registry.policies.least_pending import least_pending

counts = st.lists(st.integers(0, 5), min_size=1, max_size=8)


@given(counts, st.dictionaries(st.sampled_from([f"b{number}" for number in range(8)]), st.integers(1, 100)))
def test_chooses_one_of_the_least_busy(pending: list[int], chosen: dict[str, int]) -> None:
    """No chosen backend has more requests in flight than another, whatever was chosen before."""
    busy = Counter({f"b{number}": count for number, count in enumerate(pending)})
    assert busy[least_pending(list(busy), busy, chosen)] == min(pending)


@given(st.integers(1, 8), st.integers(1, 5))
def test_idle_backends_take_turns(count: int, rounds: int) -> None:
    """As many choices in a row as there are idle backends choose each once, again and again."""
    ids = [f"b{number}" for number in range(count)]
    chosen: dict[str, int] = {}
    for first in range(rounds):
        for turn in range(count):
            chosen[least_pending(ids, {}, chosen)] = first * count + turn + 1
        assert Counter((number - 1) // count for number in chosen.values()) == Counter({first: count})


@given(st.integers(2, 8))
def test_the_busy_one_does_not_stop_the_rotation(count: int) -> None:
    """Where one backend is busy, the idle ones are still all used."""
    ids = [f"b{number}" for number in range(count)]
    chosen: dict[str, int] = {}
    for turn in range(1, count):
        chosen[least_pending(ids, {"b0": 1}, chosen)] = turn
    assert set(chosen) == set(ids[1:])
