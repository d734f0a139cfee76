"""T09: counters and averages under any input."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from registry import Registry, Supervisor
from tests.registry.seeds import jobs
from tests.registry.seeds.crew import Crew
from tests.registry.seeds.systems import added, view_of
from tests.registry.systems import emptied as without_backends

WITHIN_S = 30.0
"""The seed's bound for all properties together."""

any_input = settings(max_examples=100, deadline=None)


@pytest.fixture(scope="module", autouse=True)
def in_time() -> Iterator[None]:
    """All properties together take no longer than the seed allows."""
    start_s = time.monotonic()
    yield
    assert time.monotonic() - start_s < WITHIN_S


@pytest.fixture(scope="module")
def emptied(running_supervisor: Supervisor) -> Registry:
    """The registry, empty at the first example; each example leaves it so."""
    return without_backends(running_supervisor.registry)


@any_input
@given(times=st.integers(1, 99))
def prop_increment_decrement_balanced(emptied: Registry, times: int) -> None:
    """As many decrements as increments leave zero."""
    with added(emptied, "a") as a:
        assert [emptied.increment_pending(a) for _ in range(times)] == list(range(1, times + 1))
        assert [emptied.decrement_pending(a) for _ in range(times)] == list(range(times - 1, -1, -1))
        assert view_of(emptied, a).pending_requests == 0


@any_input
@given(times=st.integers(1, 49))
def prop_concurrent_increments_correct(emptied: Registry, crew: Crew, times: int) -> None:
    """Increments by several processes are all counted, and no number is given twice."""
    shares = [len(range(member, times, crew.size)) for member in range(crew.size)]
    with added(emptied, "a") as a:
        given = crew.does([(jobs.increment, a, share) for share in shares])
        assert sorted(number for numbers in given for number in numbers) == list(range(1, times + 1))
        assert view_of(emptied, a, fresh=True).pending_requests == times


@any_input
@given(samples=st.lists(st.integers(0, 9_999) | st.integers(0, 2**31 - 1), min_size=1, max_size=99))
def prop_latency_bounded(emptied: Registry, samples: list[int]) -> None:
    """The average lies within its samples, after each of them."""
    with added(emptied, "a") as a:
        for number, sample in enumerate(samples, 1):
            assert min(samples[:number]) <= emptied.update_latency(a, sample) <= max(samples[:number])


@any_input
@given(times=st.integers(1, 99))
def prop_decrement_never_negative(emptied: Registry, times: int) -> None:
    """Any number of decrements of nothing gives zero."""
    with added(emptied, "a") as a:
        assert {emptied.decrement_pending(a) for _ in range(times)} == {0}
        assert view_of(emptied, a).pending_requests == 0
