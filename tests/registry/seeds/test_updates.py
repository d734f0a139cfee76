"""T07: what a check says of a backend, and new lists of models."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from registry import BackendNotFound, BackendStatus, Model, Registry
from tests.registry.seeds.systems import backend, view_of

HEALTHY, UNHEALTHY = BackendStatus.HEALTHY, BackendStatus.UNHEALTHY


@pytest.mark.parametrize("before", list(BackendStatus))
@pytest.mark.parametrize("after", list(BackendStatus))
def test_update_status_changes_status(registry: Registry, before: BackendStatus, after: BackendStatus) -> None:
    """Every status may follow every other."""
    registry.add_backend(backend("a", status=before))
    registry.update_status("a", after)
    assert view_of(registry, "a").status is after


@pytest.mark.parametrize("status", [HEALTHY, UNHEALTHY])
def test_update_status_sets_timestamp(registry: Registry, status: BackendStatus) -> None:
    """The time of the check is noted, whether or not anything else has changed."""
    registry.add_backend(backend("a", status=HEALTHY))
    added = view_of(registry, "a").last_health_check
    asked = datetime.now(UTC)
    registry.update_status("a", status)
    assert added < asked <= view_of(registry, "a").last_health_check <= datetime.now(UTC)


def test_update_status_sets_error(registry: Registry) -> None:
    """An unhealthy backend has a reason."""
    registry.add_backend(backend("a"))
    registry.update_status("a", UNHEALTHY, "connection refused")
    assert view_of(registry, "a").last_error == "connection refused"


def test_update_status_clears_error(registry: Registry) -> None:
    """A healthy backend has no error."""
    registry.add_backend(backend("a"))
    registry.update_status("a", UNHEALTHY, "connection refused")
    registry.update_status("a", HEALTHY)
    view = view_of(registry, "a")
    assert (view.status, view.last_error) == (HEALTHY, None)


def test_update_status_not_found(registry: Registry) -> None:
    """An unknown backend is refused by name."""
    with pytest.raises(BackendNotFound) as refusal:
        registry.update_status("a", HEALTHY)
    assert refusal.value.id == "a"


def test_update_models_replaces_list(registry: Registry) -> None:
    """The new models are the only ones, in their order."""
    registry.add_backend(backend("a", "m", "n"))
    registry.update_models("a", [Model(id="z"), Model(id="b")])
    assert [model.id for model in view_of(registry, "a").models] == ["z", "b"]


def test_update_models_updates_index(registry: Registry) -> None:
    """A model that is gone is not found any more, a common one still is, and a new one is."""
    registry.add_backend(backend("a", "old", "common"))
    registry.update_models("a", [Model(id="common"), Model(id="new")])
    found = {model: len(registry.get_backends_for_model(model)) for model in ("old", "common", "new")}
    assert found == {"old": 0, "common": 1, "new": 1}
    assert registry.model_count() == 2


def test_update_models_not_found(registry: Registry) -> None:
    """An unknown backend is refused by name."""
    with pytest.raises(BackendNotFound) as refusal:
        registry.update_models("a", [Model(id="m")])
    assert refusal.value.id == "a"
    assert registry.model_count() == 0
