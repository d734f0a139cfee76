"""Which backends have a model."""

import sys
from collections.abc import Callable
from types import FrameType
from typing import Any

import pytest

from registry import commands as c
from registry.kinds import BackendStatus
from registry.state.records import ModelRecord
from tests.registry.state.driver import State, backend


def models(*ids: str) -> tuple[ModelRecord, ...]:
    """Models of these ids, as they are stored."""
    return tuple(ModelRecord(id, name=id) for id in ids)


def test_remove_backend_cleans_up_model_index_completely() -> None:
    """Only the models of the backends that are left are counted."""
    state = State(backend("a", "m", "n"), backend("b", "n"))
    state.apply(c.RemoveBackend("a"))
    assert state.apply(c.CountAll()) == (1, 1)
    state.apply(c.RemoveBackend("b"))
    assert state.apply(c.CountAll()) == (0, 0)


@pytest.mark.parametrize("almost", ["M", "m ", " m", "m:latest"])
def test_model_ids_are_compared_exactly(almost: str) -> None:
    """No spelling but the exact one finds a model."""
    assert State(backend("a", "m")).ids(almost) == []


@pytest.mark.parametrize("status", list(BackendStatus))
def test_get_backends_for_model_has_no_health_filter(status: BackendStatus) -> None:
    """Who has a model does not depend on how it is."""
    assert State(backend("a", "m", status=status)).ids("m") == ["a"]


def lines(function: Callable[[], object]) -> int:
    """How many lines of Python a function runs."""
    count = 0

    def trace(_: FrameType, __: str, ___: object) -> Any:
        nonlocal count
        count += 1
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        function()
    finally:
        sys.settrace(before)
    return count


def test_a_query_costs_the_same_however_many_others_there_are() -> None:
    """Backends that do not have the model are not even looked at."""
    state = State(backend("a", "m"), backend("b", "m"))
    alone = lines(lambda: state.ids("m"))
    for number in range(100):
        state.apply(c.AddBackend(backend(f"other-{number}", "n")))
    assert lines(lambda: state.ids("m")) == alone


def test_model_and_status_are_both_asked_for() -> None:
    """A backend must have the model and be in the status."""
    state = State(backend("a", "m"), backend("b", "m", status=BackendStatus.DRAINING), backend("c", "n"))
    assert state.ids("m", BackendStatus.HEALTHY) == ["a"]
    assert state.ids("m", BackendStatus.DRAINING) == ["b"]


def test_get_models_names_what_healthy_backends_have() -> None:
    """The list of models is sorted, names each once, and only what can be asked for."""
    state = State(backend("a", "z", "m"), backend("b", "m"), backend("c", "gone", status=BackendStatus.UNHEALTHY))
    assert state.apply(c.GetModels()) == ["m", "z"]


def test_update_models_may_clear_them() -> None:
    """An empty list takes all models away."""
    state = State(backend("a", "m"))
    state.apply(c.UpdateModels("a", ()))
    assert state.apply(c.CountAll()) == (1, 0)


def test_update_models_touches_nothing_else() -> None:
    """Status, time of the check and counts stay."""
    state = State(backend("a", "m"))
    state.apply(c.IncrementPending("a"))
    before = state.get("a")
    state.now_s += 5
    state.apply(c.UpdateModels("a", models("n")))
    after = state.get("a")
    assert after.record.last_health_check_s == before.record.last_health_check_s
    assert (after.record.status, after.pending_requests) == (before.record.status, 1)


def test_update_models_without_a_change_is_no_change() -> None:
    """Saying the same again makes no durable change, so a health checker may say it every few seconds."""
    state = State(backend("a", "m"))
    state.changes.clear()
    state.apply(c.UpdateModels("a", (ModelRecord("m"),)))
    assert state.changes == []


def test_update_models_keeps_the_abilities_of_a_model() -> None:
    """A model with the same id and other abilities is a change."""
    state = State(backend("a", "m"))
    state.apply(c.UpdateModels("a", (ModelRecord("m", context_length=32_768, supports_tools=True),)))
    (model,) = state.get("a").record.models
    assert (model.context_length, model.supports_tools) == (32_768, True)


def test_model_named_twice_is_one_candidate() -> None:
    """A backend that lists a model twice is given once, counted once, and leaves no trace in the index."""
    state = State(backend("a", "m", "m"))
    assert state.ids("m") == ["a"]
    assert state.apply(c.CountAll()) == (1, 1)
    state.apply(c.UpdateModels("a", models("m", "n", "n")))
    assert (state.ids("m"), state.ids("n")) == (["a"], ["a"])
    state.apply(c.UpdateModels("a", models("n")))
    assert (state.ids("m"), state.ids("n")) == ([], ["a"])
