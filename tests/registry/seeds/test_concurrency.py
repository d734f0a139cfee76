"""T10: several worker processes use the registry at the same time.

Each test asserts the seed's bound of 5 s; a deadlock would never come to that, and ends at pytest's own timeout.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from registry import BackendStatus, Registry
from tests.registry.seeds import jobs
from tests.registry.seeds.crew import Crew
from tests.registry.seeds.systems import backend, told

WITHIN_S = 5.0
"""The seed's bound."""


@contextmanager
def in_time() -> Iterator[None]:
    """The block takes no longer than the seed allows."""
    start_s = time.monotonic()
    yield
    assert time.monotonic() - start_s < WITHIN_S


def sum_of(counts: list[Counter[Any]]) -> Counter[Any]:
    """All that was counted."""
    return sum(counts, Counter())


def test_concurrent_reads_no_deadlock(registry: Registry, crew: Crew) -> None:
    """10,000 reads by several processes are all answered."""
    registry.add_backend(backend("a", "m"))
    with in_time():
        seen = crew.does([(jobs.read, ["a"], 10_000 // crew.size)] * crew.size)
    assert sum_of(seen) == {(BackendStatus.HEALTHY, None): 10_000}


def test_concurrent_read_write_safe(registry: Registry, crew: Crew) -> None:
    """10,000 reads and 5,000 checks of ten backends: no read sees half a check, and no count is lost."""
    ids = [f"b{number}" for number in range(10)]
    for id in ids:
        registry.add_backend(backend(id, "m"))
    half = crew.size // 2
    with in_time():
        done = crew.does(
            [(jobs.read, ids, 10_000 // half)] * half + [(jobs.write, ids, 5_000 // half)] * (crew.size - half)
        )
    seen, errors = sum_of(done[:half]), set(done[half:])
    assert seen.total() == 10_000
    assert set(seen) <= {(BackendStatus.HEALTHY, None), *((BackendStatus.UNHEALTHY, error) for error in errors)}
    final = told(registry, Registry.get_all_backends.call())
    assert [view.id for view in final] == ids
    assert [view.total_requests for view in final] == [500] * 10
    # Each writer's last word on each backend is that it is well.
    assert {(view.status, view.last_error) for view in final} == {(BackendStatus.HEALTHY, None)}


def test_concurrent_add_remove_same_id(registry: Registry, crew: Crew) -> None:
    """The result is that of one order: additions and removals alternate, and of the last one everything is there."""
    told(registry, Registry.backend_count.call())
    before = registry.revision
    with in_time():
        came = sum_of(crew.does([(jobs.add_and_remove, "x", 250, number % 2 == 0) for number in range(crew.size)]))
    final = told(registry, Registry.get_all_backends.call())
    assert came["added"] + came["duplicate"] == 250 * crew.size
    assert came["added"] - came["removed"] == len(final)
    assert registry.revision - before == came["added"] + came["removed"]
    ids, models = [view.id for view in final], {model.id for view in final for model in view.models}
    assert ids in ([], ["x"])
    assert told(registry, Registry.backend_count.call()) == len(ids)
    assert told(registry, Registry.model_count.call()) == len(models) == 2 * len(ids)
    assert [view.id for view in told(registry, Registry.get_backends_for_model.call("shared"))] == ids


def test_concurrent_model_queries(registry: Registry, crew: Crew) -> None:
    """Models that are swapped while others ask are seen whole or not at all, and nobody is ever missing."""
    ids, lists = ["a", "b"], [("m", "even-1", "even-2"), ("m", "odd-1", "odd-2", "odd-3")]
    for id in ids:
        registry.add_backend(backend(id, *lists[0]))
    with in_time():
        _, _, common, odd = crew.does(
            [(jobs.swap_models, ids, lists, 401)] * 2 + [(jobs.query, model, 1_000) for model in ("m", "odd-1")]
        )
    assert {tuple(sorted(id for id, _ in answer)) for answer in common} == {("a", "b")}
    assert {models for answer in common for _, models in answer} <= set(lists)
    assert {models for answer in odd for _, models in answer} <= {lists[1]}
    # Every order of the writers' last words is an even list for `a` and an odd one for `b`.
    final = {
        view.id: tuple(model.id for model in view.models) for view in told(registry, Registry.get_all_backends.call())
    }
    assert final == {"a": lists[0], "b": lists[1]}
    for model in {model for models in lists for model in models}:
        having = {view.id for view in told(registry, Registry.get_backends_for_model.call(model))}
        assert having == {id for id, models in final.items() if model in models}
