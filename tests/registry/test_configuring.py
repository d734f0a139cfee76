"""What an operator does to a running registry: changing the configuration of backends, taking leases back."""

from __future__ import annotations

import pytest

from registry import (
    Backend,
    BackendStatus,
    BackendType,
    CommandInvalid,
    DuplicateBackend,
    LeaseNotFound,
    Model,
    Registry,
    RevisionMismatch,
    Supervisor,
)
from tests.registry.systems import emptied

A = Backend(
    url="http://a:8000",
    id="a",
    models=(Model(id="m"),),
    status=BackendStatus.HEALTHY,
    backend_type=BackendType.VLLM,
    labels={"zone": "eu"},
    weight=2,
    max_concurrency=4,
)


@pytest.fixture
def registry(running_supervisor: Supervisor) -> Registry:
    """A registry with one backend."""
    registry = emptied(running_supervisor.registry)
    registry.add_backend(A)
    return registry


def test_update_backend(registry: Registry) -> None:
    """What is given is changed, also to no limit; what is not given stays."""
    updated = registry.update_backend("a", weight=3, labels={"zone": "us"}, max_concurrency=None)
    assert (updated.weight, updated.labels, updated.max_concurrency) == (3, {"zone": "us"}, None)
    assert registry.update_backend("a", name="A") == updated.model_copy(
        update={"name": "A", "revision": registry.revision}
    )
    with pytest.raises(CommandInvalid) as refusal:
        registry.update_backend("a", weight=0)
    assert refusal.value.field == "weight"


def test_changes_of_what_was_seen(registry: Registry) -> None:
    """Of two that change what both have seen, the second is told to look again."""
    seen = registry.list_backends().backends[0]
    registry.update_backend("a", priority=1, expected_revision=seen.revision)
    with pytest.raises(RevisionMismatch):
        registry.remove_backend("a", expected_revision=seen.revision)
    with pytest.raises(RevisionMismatch):
        registry.put_backend(A, expected_revision=seen.revision)
    assert registry.remove_backend("a", expected_revision=registry.revision).id == "a"


def test_put_backend(registry: Registry) -> None:
    """A backend is added or replaced; only a status that was given is set."""
    replacement = Backend(url="http://elsewhere", id="a")
    assert registry.put_backend(replacement).status is BackendStatus.HEALTHY
    draining = Backend(url="http://elsewhere", id="a", status=BackendStatus.DRAINING)
    assert registry.put_backend(draining).status is BackendStatus.DRAINING
    with pytest.raises(DuplicateBackend):
        registry.put_backend(replacement, only_new=True)
    assert registry.put_backend(Backend(url="http://b", id="b"), only_new=True).id == "b"


def test_list_backends(registry: Registry) -> None:
    """A list has the backends asked for and the revision of that moment."""
    listed = registry.list_backends(
        model="m", status=BackendStatus.HEALTHY, backend_type=BackendType.VLLM, label={"zone": "eu"}
    )
    assert listed.revision == registry.revision
    assert [view.id for view in listed.backends] == ["a"]
    assert registry.list_backends(label={"zone": "us"}).backends == ()


def test_drain_and_undrain(registry: Registry) -> None:
    """Both return the backend as it is then."""
    assert registry.drain_backend("a").status is BackendStatus.DRAINING
    assert registry.undrain_backend("a").status is BackendStatus.UNKNOWN


def test_force_release(registry: Registry) -> None:
    """An operator sees who holds what and takes it back; its holder can then not release it."""
    lease = registry.acquire("m", lease_s=60)
    (held,) = registry.get_leases("a")
    assert (held.id, held.backend, held.model) == (lease.id, "a", "m")
    assert 0 <= held.age_s < 60
    assert held.remaining_s == pytest.approx(60 - held.age_s)
    assert registry.get_leases("b") == []
    assert registry.force_release(lease.id).session == held.session
    assert registry.get_leases() == []
    for release in (lambda: registry.release(lease), lambda: registry.force_release(lease.id)):
        with pytest.raises(LeaseNotFound):
            release()
