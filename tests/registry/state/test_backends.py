"""Backends: adding, reading and removing them."""

import pytest

from registry import commands as c
from registry.errors import InvalidField
from registry.kinds import BackendStatus
from registry.state.records import ModelRecord
from tests.registry.state.driver import State, backend


def test_two_ids_may_share_a_url() -> None:
    """Only the id makes a backend another one."""
    state = State(backend("a", url="http://same"), backend("b", url="http://same"))
    assert state.ids() == ["a", "b"]


def test_add_backend_stores_the_normal_form_of_its_url() -> None:
    """The URL is stored as it is compared."""
    assert State(backend("a", url="HTTP://GPU:80/v1/")).get("a").record.url == "http://gpu/v1"


def test_add_backend_with_a_bad_url_changes_nothing() -> None:
    """A URL nobody could call is refused with the name of the field."""
    state = State()
    with pytest.raises(InvalidField) as refusal:
        state.apply(c.AddBackend(backend("a", url="ftp://host")))
    assert refusal.value.field == "url"
    assert state.changes == []


def test_add_backend_names_models_after_their_ids() -> None:
    """A model without a name is called by its id."""
    state = State(backend("a", models=(ModelRecord("m"), ModelRecord("n", name="Nice"))))
    assert [model.name for model in state.get("a").record.models] == ["m", "Nice"]


def test_removal_leaves_nothing_in_any_table() -> None:
    """Removing gives back the backend as it was, with its counts, and no row of it is left."""
    state = State(backend("a", "m"))
    state.apply(c.IncrementPending("a"))
    state.apply(c.IncrementTotalRequests("a"))
    state.apply(c.UpdateLatency("a", 70))
    before = state.get("a")
    assert state.apply(c.RemoveBackend("a")) == before
    assert (before.pending_requests, before.total_requests, before.avg_latency_ms) == (1, 1, 70)
    assert state.apply(c.CountAll()) == (0, 0)
    assert not any(len(table) for table in state.actor.tables)


def test_backend_that_comes_back_begins_anew() -> None:
    """Counts of a removed backend do not come back with its id."""
    state = State(backend("a", "m"))
    state.apply(c.IncrementPending("a"))
    state.apply(c.UpdateLatency("a", 70))
    state.apply(c.RemoveBackend("a"))
    state.apply(c.AddBackend(backend("a", "m")))
    found = state.get("a")
    assert (found.pending_requests, found.total_requests, found.avg_latency_ms) == (0, 0, 0)


def test_reading_changes_nothing() -> None:
    """No read leaves a trace in the tables."""
    state = State(backend("a", "m"))
    state.changes.clear()
    reads = (
        c.GetBackend("a"),
        c.GetBackends("m", BackendStatus.HEALTHY),
        c.GetModels(),
        c.CountAll(),
        c.HasBackendUrl("http://a:8000"),
        c.GetLeases(),
        c.GetMetrics(),
    )
    for read in reads:
        state.apply(read)
    assert state.changes == []


def test_registry_has_backend_url_true() -> None:
    """A URL that was added is known."""
    assert State(backend("a", url="http://x:1")).apply(c.HasBackendUrl("http://x:1")) is True


def test_registry_has_backend_url_false() -> None:
    """A URL that was not added is not known."""
    assert State(backend("a", url="http://x:1")).apply(c.HasBackendUrl("http://x:2")) is False


@pytest.mark.parametrize("spelling", ["http://x", "http://x/", "http://x//", "HTTP://X:80/", "http://x:80"])
def test_registry_has_backend_url_normalized(spelling: str) -> None:
    """A URL is known in every spelling, however it was added."""
    assert State(backend("a", url="http://x/")).apply(c.HasBackendUrl(spelling)) is True
    assert State(backend("a", url=spelling)).apply(c.HasBackendUrl("http://x")) is True
