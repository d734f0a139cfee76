"""Backends: adding, reading and removing them."""

import pytest

from registry import commands as c
from registry.errors import BackendNotFound, DuplicateBackend, InvalidField
from registry.kinds import BackendStatus
from registry.state.records import ModelRecord
from tests.registry.state.driver import State, backend


def test_registry_new_empty() -> None:
    """A new registry has no backends and no models."""
    state = State()
    assert state.apply(c.CountAll()) == (0, 0)
    assert state.ids() == []
    assert state.apply(c.GetModels()) == []


def test_add_backend_success() -> None:
    """A backend that was added is found under its id, with everything that was given."""
    state = State()
    state.apply(c.AddBackend(backend("a", "m", priority=-3, metadata={"rack": "7"})))
    record = state.get("a").record
    assert (record.id, record.name, record.priority, record.metadata) == ("a", "a", -3, {"rack": "7"})
    assert state.apply(c.CountAll()) == (1, 1)


def test_backend_default_values() -> None:
    """A backend begins without requests, samples and errors, and counts as checked when it was added."""
    state = State(backend("a", status=BackendStatus.UNKNOWN))
    found = state.get("a")
    assert (found.pending_requests, found.total_requests, found.avg_latency_ms) == (0, 0, 0)
    assert found.record.status is BackendStatus.UNKNOWN
    assert found.record.last_error is None
    assert found.record.last_health_check_s == state.now_s


def test_add_backend_duplicate_error() -> None:
    """A second backend of the same id is refused by name, and the first stays as it is."""
    state = State(backend("a", "m"))
    before = state.get("a")
    with pytest.raises(DuplicateBackend, match=r"^backend already exists: a$") as refusal:
        state.apply(c.AddBackend(backend("a", "other", url="http://elsewhere")))
    assert refusal.value.id == "a"
    assert state.get("a") == before
    assert state.apply(c.CountAll()) == (1, 1)


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


def test_remove_backend_success() -> None:
    """Removing gives back the backend as it was, with its counts, and leaves nothing of it."""
    state = State(backend("a", "m"))
    state.apply(c.IncrementPending("a"))
    state.apply(c.IncrementTotalRequests("a"))
    state.apply(c.UpdateLatency("a", 70))
    before = state.get("a")
    assert state.apply(c.RemoveBackend("a")) == before
    assert (before.pending_requests, before.total_requests, before.avg_latency_ms) == (1, 1, 70)
    assert state.apply(c.CountAll()) == (0, 0)
    assert not any(len(table) for table in state.actor.tables)


def test_remove_backend_not_found() -> None:
    """There is no second removal."""
    state = State(backend("a"))
    state.apply(c.RemoveBackend("a"))
    with pytest.raises(BackendNotFound, match=r"^backend not found: a$") as refusal:
        state.apply(c.RemoveBackend("a"))
    assert refusal.value.id == "a"


def test_backend_that_comes_back_begins_anew() -> None:
    """Counts of a removed backend do not come back with its id."""
    state = State(backend("a", "m"))
    state.apply(c.IncrementPending("a"))
    state.apply(c.UpdateLatency("a", 70))
    state.apply(c.RemoveBackend("a"))
    state.apply(c.AddBackend(backend("a", "m")))
    found = state.get("a")
    assert (found.pending_requests, found.total_requests, found.avg_latency_ms) == (0, 0, 0)


def test_get_backend_found() -> None:
    """A backend is found by its id."""
    assert State(backend("a"), backend("b")).get("b").record.id == "b"


def test_get_backend_not_found() -> None:
    """An unknown id is no error of a read."""
    assert State().apply(c.GetBackend("a")) is None


def test_get_all_backends() -> None:
    """All backends are given in order of their arrival."""
    assert State(backend("c"), backend("a"), backend("b")).ids() == ["c", "a", "b"]


def test_backend_count() -> None:
    """The number of backends follows additions and removals."""
    state = State()
    counts = [state.apply(c.CountAll())[0]]
    for id in ("a", "b"):
        state.apply(c.AddBackend(backend(id)))
        counts.append(state.apply(c.CountAll())[0])
    state.apply(c.RemoveBackend("a"))
    counts.append(state.apply(c.CountAll())[0])
    assert counts == [0, 1, 2, 1]


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
