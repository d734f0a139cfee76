"""Several operations as one message."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from registry import (
    AsyncRegistry,
    Backend,
    BackendNotFound,
    BackendStatus,
    BackendView,
    DuplicateBackend,
    InvalidField,
    Lease,
    Model,
    NoBackendAvailable,
    Registry,
    Supervisor,
)
from tests.registry.systems import emptied

A = Backend(url="http://a:8000", id="a", models=(Model(id="m"),), status=BackendStatus.HEALTHY)
B = Backend(url="http://b:8000", id="b", models=(Model(id="n"),))


@pytest.fixture
def registry(running_supervisor: Supervisor) -> Registry:
    """A registry with one healthy backend."""
    registry = emptied(running_supervisor.registry)
    registry.add_backend(A)
    return registry


@pytest.mark.parametrize(
    ("calls", "reason"),
    [
        (["x"], r"^calls\[0\]: must be a Call, not 'x'$"),
        (None, "^calls: must be a list of Calls, not None$"),
        ([Registry.backend_count.call(), Registry.backend_count], r"^calls\[1\]: must be a Call"),
    ],
)
def test_what_is_no_call_is_refused(registry: Registry, supervisor: Supervisor, calls: Any, reason: str) -> None:
    """Nothing of a batch is sent that is not of calls alone; both faces say which one is wrong."""

    async def ask() -> None:
        async with await supervisor.async_registry() as asking:
            await asking.batch(calls)

    with pytest.raises(InvalidField, match=reason):
        registry.batch(calls)
    with pytest.raises(InvalidField, match=reason):
        asyncio.run(ask())


def test_a_batch_gives_the_results_in_order(registry: Registry) -> None:
    """Each is read as the operation alone would be; what is refused is an error in its place."""
    increment = Registry.increment_pending.call("a")
    calls = [increment, Registry.acquire.call("m"), Registry.get_backend.call("a"), Registry.add_backend.call(A)]
    one, lease, view, refused = registry.batch(calls)
    assert one == 1
    assert isinstance(lease, Lease)
    assert isinstance(view, BackendView)
    assert view.pending_requests == 2
    assert isinstance(refused, DuplicateBackend)
    registry.release(lease)
    registry.decrement_pending("a")


def test_an_atomic_batch_changes_all_or_nothing(registry: Registry) -> None:
    """The error of the first refused operation is raised, and tells its place."""
    before = registry.revision
    with pytest.raises(BackendNotFound) as raised:
        registry.batch([Registry.add_backend.call(B), Registry.remove_backend.call("nobody")], atomic=True)
    assert (raised.value.index, raised.value.id) == (1, "nobody")
    assert registry.get_backend("b") is None
    registry.batch([Registry.add_backend.call(B), Registry.remove_backend.call("a")], atomic=True)
    assert [view.id for view in registry.get_all_backends()] == ["b"]
    assert registry.revision == before + 1


def test_an_empty_batch_does_nothing(registry: Registry) -> None:
    """It has no results."""
    assert registry.batch([]) == []


def test_no_lease_can_be_had_is_an_error_in_its_place(registry: Registry) -> None:
    """The other operations of the batch stand."""
    registry.update_status("a", BackendStatus.DRAINING)
    refused, count = registry.batch([Registry.acquire.call("m"), Registry.increment_pending.call("a")])
    assert isinstance(refused, NoBackendAvailable)
    assert count == 1
    registry.decrement_pending("a")


async def _two_batches(supervisor: Supervisor) -> list[list[int]]:
    registry = await supervisor.async_registry()
    try:
        calls = [AsyncRegistry.increment_pending.call("a"), AsyncRegistry.decrement_pending.call("a")]
        return [await registry.batch(calls), await registry.batch(calls, atomic=True)]
    finally:
        registry.close()


@pytest.mark.usefixtures("registry")
def test_both_faces_have_batches(supervisor: Supervisor) -> None:
    """The asyncio one awaits."""
    assert asyncio.run(_two_batches(supervisor)) == [[1, 0], [1, 0]]
