"""Waiting for a backend that is busy, in several processes."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Iterator

import pytest

from actors.errors import CallTimeout
from registry import Backend, BackendStatus, Lease, Model, NoBackendAvailable, Registry, Supervisor
from tests.polling import until
from tests.registry import worker_functions as workers

A = Backend(url="http://a:8000", id="a", models=(Model(id="m"),), status=BackendStatus.HEALTHY, max_concurrency=1)


@pytest.fixture
def supervisor() -> Iterator[Supervisor]:
    """A system with one backend, which may have one request."""
    with Supervisor() as supervisor:
        supervisor.registry.add_backend(A)
        yield supervisor


@pytest.fixture
def lease(supervisor: Supervisor) -> Lease:
    """The one lease there is."""
    return supervisor.registry.acquire("m")


def in_line(registry: Registry, count: int) -> None:
    """Wait until so many requests wait."""
    until(lambda: registry.metrics().waiting == count, f"{count} wait")


def test_a_worker_waits_until_another_process_gives_back(supervisor: Supervisor, lease: Lease) -> None:
    """What is released here is the other one's at once."""
    registry = supervisor.registry
    supervisor.spawn(workers.wait_and_hold, "m")
    in_line(registry, 1)
    registry.release(lease)
    (held,) = registry.get_leases()
    assert held.id != lease.id
    with pytest.raises(NoBackendAvailable) as refusal:
        registry.acquire("m")
    assert refusal.value.busy


def test_a_worker_that_dies_leaves_the_line(supervisor: Supervisor, lease: Lease) -> None:
    """A backend is not given to the dead."""
    registry = supervisor.registry
    worker = supervisor.spawn(workers.wait_and_hold, "m")
    in_line(registry, 1)
    assert worker.pid is not None
    os.kill(worker.pid, signal.SIGKILL)
    in_line(registry, 0)
    registry.release(lease)
    assert registry.get_leases() == []


def test_a_place_in_the_line_outlives_the_owner(supervisor: Supervisor, lease: Lease) -> None:
    """A worker that waits notices nothing of the owner's death."""
    registry = supervisor.registry
    supervisor.spawn(workers.wait_and_hold, "m")
    in_line(registry, 1)
    owner = next(info.pid for info in supervisor.processes() if info.name == "owner")
    assert owner is not None
    os.kill(owner, signal.SIGKILL)
    assert registry.metrics().waiting == 1
    registry.release(lease)
    assert [held.backend for held in registry.get_leases()] == ["a"]


def test_who_waits_in_vain_holds_nothing(supervisor: Supervisor, lease: Lease) -> None:
    """At the deadline there is a timeout, and the next in line is not kept waiting by it."""
    registry = supervisor.registry
    with pytest.raises(CallTimeout):
        registry.acquire("m", wait=True, timeout=0.05)
    in_line(registry, 0)
    registry.release(lease)
    assert registry.get_leases() == []


def test_tasks_wait_side_by_side(supervisor: Supervisor, lease: Lease) -> None:
    """Other calls of an asyncio process go on while some of its tasks wait; a cancelled one leaves the line."""

    async def run() -> None:
        async with await supervisor.async_registry() as registry:
            first, second, third = (
                asyncio.create_task(registry.acquire("m", wait=True, timeout=60, priority=priority))
                for priority in (1, 0, -1)
            )
            await asyncio.to_thread(in_line, supervisor.registry, 3)
            third.cancel()
            await asyncio.to_thread(in_line, supervisor.registry, 2)
            supervisor.registry.release(lease)
            granted = await second
            assert not first.done()
            await registry.release(granted)
            await registry.release(await first)
            async with registry.lease("m", wait=True, priority=1) as held:
                assert held.backend == "a"

    asyncio.run(run())
