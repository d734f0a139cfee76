from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from registry.policies.least_pending import FULL, Rank, least_pending, rank

counts = st.lists(st.integers(0, 5), min_size=1, max_size=8)
weights = st.lists(st.integers(1, 1_000_000), min_size=8, max_size=8)


@given(counts, weights, st.lists(st.integers(0, 100), min_size=8, max_size=8))
def test_chooses_one_of_the_least_busy(pending: list[int], weights: list[int], chosen: list[int]) -> None:
    """No chosen backend has more requests in flight for its weight than another, whatever was chosen before."""
    ranks = {f"b{number}": rank(count, weights[number], chosen[number]) for number, count in enumerate(pending)}
    loads = {f"b{number}": count / weights[number] for number, count in enumerate(pending)}
    assert loads[least_pending(ranks, ranks)] == min(loads.values())


@given(st.integers(1, 8), st.integers(1, 5))
def test_idle_backends_take_turns(count: int, rounds: int) -> None:
    """As many choices in a row as there are idle backends choose each once, again and again."""
    ranks: dict[str, Rank] = {f"b{number}": rank(0, 1, 0) for number in range(count)}
    chosen: list[str] = []
    for turn in range(count * rounds):
        chosen.append(least_pending(ranks, ranks))
        ranks[chosen[-1]] = rank(0, 1, turn + 1)
    for first in range(rounds):
        assert set(chosen[first * count : (first + 1) * count]) == set(ranks)


@given(st.integers(2, 8))
def test_the_busy_one_does_not_stop_the_rotation(count: int) -> None:
    """Where one backend is busy, the idle ones are still all used."""
    ranks: dict[str, Rank] = {f"b{number}": rank(number == 0, 1, 0) for number in range(count)}
    chosen: set[str] = set()
    for turn in range(1, count):
        latest = least_pending(ranks, ranks)
        ranks[latest] = rank(0, 1, turn)
        chosen.add(latest)
    assert chosen == set(ranks) - {"b0"}


@given(st.integers(1, 9), st.integers(1, 9), st.integers(1, 50))
def test_requests_are_shared_by_weight(first: int, second: int, requests: int) -> None:
    """Of requests that stay in flight each backend has its share, to less than one request for each unit of weight."""
    weight = {"a": first, "b": second}
    pending: Counter[str] = Counter()
    for turn in range(requests):
        ranks = {id: rank(pending[id], weight[id], turn) for id in weight}
        pending[least_pending(weight, ranks)] += 1
    assert abs(pending["a"] * second - pending["b"] * first) <= max(first, second)


@given(st.integers(0, 1_000_000))
def test_a_full_one_is_only_chosen_if_all_are(pending: int) -> None:
    """However busy another one is, a request does not go to one that may take no more."""
    assert least_pending(["full", "busy"], {"full": FULL, "busy": rank(pending, 1, 2**60)}) == "busy"
