"""T05: adding, removing and getting backends."""

from __future__ import annotations

import pytest

from registry import Backend, BackendNotFound, DuplicateBackend, Registry
from tests.registry.seeds.systems import backend, view_of


def test_registry_new_empty(registry: Registry) -> None:
    """A new registry has no backends and no models."""
    assert (registry.backend_count(), registry.model_count()) == (0, 0)
    assert registry.get_all_backends() == []
    assert registry.get_models() == []


def test_add_backend_success(registry: Registry) -> None:
    """A backend that was added is found under its id."""
    registry.add_backend(Backend(url="http://a:8000", id="a", name="A", priority=-3, metadata={"rack": "7"}))
    view = view_of(registry, "a")
    assert (view.id, view.name, view.priority, view.metadata) == ("a", "A", -3, {"rack": "7"})
    assert registry.backend_count() == 1


def test_add_backend_duplicate_error(registry: Registry) -> None:
    """A second backend of the same id is refused by name, and the first stays as it is."""
    registry.add_backend(backend("a", "m"))
    before = view_of(registry, "a")
    with pytest.raises(DuplicateBackend) as refusal:
        registry.add_backend(Backend(url="http://elsewhere", id="a", name="other"))
    assert refusal.value.id == "a"
    assert view_of(registry, "a") == before
    assert (registry.backend_count(), registry.model_count()) == (1, 1)


def test_remove_backend_success(registry: Registry) -> None:
    """Removing gives back the backend as it was, with its counts, and leaves nothing of it."""
    registry.add_backend(backend("a", "m"))
    registry.increment_pending("a")
    registry.update_latency("a", 70)
    before = view_of(registry, "a")
    removed = registry.remove_backend("a")
    assert removed == before
    assert (removed.pending_requests, removed.avg_latency_ms) == (1, 70)
    assert (registry.backend_count(), registry.get_backend("a")) == (0, None)


def test_remove_backend_not_found(registry: Registry) -> None:
    """An unknown id is refused by name; there is no second removal."""
    registry.add_backend(backend("a"))
    registry.remove_backend("a")
    for id in ("a", "never"):
        with pytest.raises(BackendNotFound) as refusal:
            registry.remove_backend(id)
        assert refusal.value.id == id


def test_get_backend_found(registry: Registry) -> None:
    """A backend is found by its id."""
    registry.add_backend(backend("a"))
    registry.add_backend(backend("b"))
    assert view_of(registry, "b").id == "b"


def test_get_backend_not_found(registry: Registry) -> None:
    """An unknown id is no error of a read."""
    assert registry.get_backend("a") is None


def test_get_all_backends(registry: Registry) -> None:
    """All backends are given, in order of their arrival."""
    for id in ("c", "a", "b"):
        registry.add_backend(backend(id))
    assert [view.id for view in registry.get_all_backends()] == ["c", "a", "b"]


def test_backend_count(registry: Registry) -> None:
    """The number of backends follows additions and removals."""
    counts = [registry.backend_count()]
    for id in ("a", "b"):
        registry.add_backend(backend(id))
        counts.append(registry.backend_count())
    registry.remove_backend("a")
    assert [*counts, registry.backend_count()] == [0, 1, 2, 1]
