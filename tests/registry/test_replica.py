"""Reads from a process's own copy, with real processes on both faces."""

from __future__ import annotations

import os
import random
import signal
import threading
from pathlib import Path
from typing import Any

import pytest

from registry import (
    Backend,
    BackendStatus,
    BackendView,
    CommandInvalid,
    Model,
    Registry,
    Restart,
    Supervisor,
    SystemStopped,
)
from registry.errors import InvalidField
from tests.forking import in_fork
from tests.polling import until
from tests.registry.faces import Make
from tests.registry.systems import emptied
from tests.registry.worker_functions import change_at_random, write_what_is_read

READS: dict[str, tuple[Any, ...]] = {
    "get_backend": ("b1",),
    "get_all_backends": (),
    "get_healthy_backends": (),
    "get_backends_for_model": ("m",),
    "get_models": (),
    "backend_count": (),
    "model_count": (),
    "has_backend_url": ("HTTP://b1:8000/",),
}


def backend(id: str, *models: str) -> Backend:
    """A healthy backend."""
    return Backend(
        url=f"http://{id}:8000", id=id, models=[Model(id=one) for one in models], status=BackendStatus.HEALTHY
    )


@pytest.fixture
def supervisor(running_supervisor: Supervisor) -> Supervisor:
    """The system with two backends."""
    registry = emptied(running_supervisor.registry)
    registry.add_backend(backend("b1", "m", "n"))
    registry.add_backend(backend("b2", "m"))
    return running_supervisor


def copying(registry: Registry) -> Registry:
    """The registry, once it reads from a copy."""

    def is_complete() -> bool:
        registry.backend_count()
        return registry.replica.complete

    until(is_complete, "the copy is complete")
    return registry


def asked(registry: Registry) -> int:
    """How many commands it has sent."""
    return registry.statistics().asked


def seen(registry: Registry) -> dict[str, Any]:
    """The results of all reads."""
    return {name: getattr(registry, name)(*arguments) for name, arguments in READS.items()}


def fresh(registry: Registry) -> dict[str, Any]:
    """The same from the owner."""
    return {name: getattr(registry, name)(*arguments, fresh=True) for name, arguments in READS.items()}


def owner_pid(supervisor: Supervisor) -> int:
    """The process id of the owner at this moment."""
    pid = supervisor.processes()[0].pid
    assert pid is not None
    return pid


def test_the_first_read_subscribes_and_later_ones_ask_nobody(make: Make) -> None:
    """All reads are answered from the copy, with what the owner answers; until it is there, by the owner."""
    registry = make()
    assert registry.replica.age_s is None
    assert registry.backend_count() == 2
    copying(registry)
    before = asked(registry)
    found = seen(registry)
    assert asked(registry) == before
    assert found == fresh(registry)
    assert asked(registry) == before + len(READS)
    copy = registry.replica
    assert (copy.complete, copy.revision, copy.snapshots) == (True, registry.revision, 1)
    assert copy.age_s is not None


def test_bad_arguments_are_refused_as_by_the_owner(make: Make) -> None:
    """A copy answers nothing that the owner would refuse."""
    registry = copying(make())
    wrong: Any = registry
    for read, argument, field in [
        (wrong.get_backend, "", "id"),
        (wrong.get_backend, "i" * 513, "id"),
        (wrong.get_backend, 7, "id"),
        (wrong.get_backends_for_model, "", "model"),
        (wrong.get_backends_for_model, "m" * 1025, "model"),
    ]:
        with pytest.raises(CommandInvalid) as refusal:
            read(argument)
        assert refusal.value.field == field
    with pytest.raises(InvalidField, match="url"):
        registry.has_backend_url("ftp://b1")
    with pytest.raises(TypeError):
        wrong.get_backend()
    assert registry.get_backend("i" * 512) is None
    assert registry.get_backends_for_model("absent") == []


def test_a_process_reads_its_own_writes(make: Make) -> None:
    """Whatever was answered is in the next read: durable changes, counts, leases, whole batches."""
    registry = copying(make())
    before = asked(registry)
    reads = 0
    for turn in range(30):
        registry.add_backend(backend(f"own-{turn}", f"model-{turn}"))
        assert registry.backend_count() == 3
        assert registry.increment_pending("b1") == turn + 1
        view = registry.get_backend("b1")
        assert view is not None
        assert view.pending_requests == turn + 1
        lease = registry.acquire(f"model-{turn}")
        assert [one.pending_requests for one in registry.get_backends_for_model(f"model-{turn}")] == [1]
        registry.release(lease, latency_ms=5)
        [own] = registry.get_backends_for_model(f"model-{turn}")
        assert (own.pending_requests, own.total_requests, own.avg_latency_ms) == (0, 1, 5)
        remove, add = Registry.remove_backend.call, Registry.add_backend.call
        registry.batch([remove(f"own-{turn}"), add(backend("x")), remove("x")], atomic=True)
        assert registry.get_backend(f"own-{turn}") is None
        reads += 1
    assert asked(registry) == before + 5 * reads
    registry.batch([Registry.decrement_pending.call("b1")] * 30)
    assert [view.pending_requests for view in registry.get_all_backends()] == [0, 0]


def test_what_others_change_comes_by_itself(make: Make, supervisor: Supervisor) -> None:
    """Within a moment, gathered: a thousand changes of a count are few updates."""
    registry, other = copying(make()), supervisor.registry
    before = registry.replica.updates
    other.batch([Registry.increment_pending.call("b1")] * 1_000)
    until(lambda: registry.get_backends_for_model("n")[0].pending_requests == 1_000, "the count arrives")
    assert registry.replica.updates <= before + 3
    other.batch([Registry.decrement_pending.call("b1")] * 1_000)
    other.update_status("b1", BackendStatus.UNHEALTHY, "gone")
    until(lambda: registry.get_models() == ["m"], "the status arrives")
    assert registry.get_healthy_backends() == registry.get_healthy_backends(fresh=True)


def test_a_copy_is_used_while_the_owner_is_dead_and_renewed_by_the_next(make: Make, supervisor: Supervisor) -> None:
    """Reads go on; after that the counts are those of the new owner, and what has not changed is not sent again."""
    registry = copying(make())
    os.kill(owner_pid(supervisor), signal.SIGSTOP)
    try:
        before = asked(registry)
        assert [view.id for view in registry.get_all_backends()] == ["b1", "b2"]
        assert asked(registry) == before
        first = registry.replica
        assert first.complete
        until(lambda: (registry.replica.age_s or 0) > 0.1, "the age rises")
    finally:
        os.kill(owner_pid(supervisor), signal.SIGKILL)
    supervisor.registry.increment_pending("b2")
    until(lambda: registry.get_all_backends()[1].pending_requests == 1, "the next owner speaks")
    supervisor.registry.decrement_pending("b2")
    copying(registry)
    assert registry.replica.epoch > first.epoch
    assert registry.get_backend("b1") == registry.get_backend("b1", fresh=True)


def change_until_dropped(registry: Registry) -> None:
    """Change what is long until so much waits for a process that does not read that it is dropped."""
    long = Backend(url="http://b3:8000", id="b3", metadata={str(number): "x" * 4_000 for number in range(20)})
    replace = [Registry.remove_backend.call("b3"), Registry.add_backend.call(long)]
    unsent = [0]

    def is_dropped() -> bool:
        registry.batch(replace)
        unsent.append(registry.owner_statistics().unsent_bytes)
        return unsent[-1] < max(unsent) / 2

    until(is_dropped, "so much waits that it is dropped", 30)
    assert max(unsent) < 2 * 1024 * 1024


def test_a_process_that_does_not_read_costs_little_and_catches_up(supervisor: Supervisor, make: Make) -> None:
    """The owner keeps a bounded number of updates for it; when it reads again it asks for everything anew."""
    registry = copying(make())
    change_until_dropped(supervisor.registry)  # meanwhile nobody reads: a face has no thread of its own
    until(lambda: seen(registry) == fresh(supervisor.registry), "the copy is equal again")
    assert registry.replica.resyncs >= 1


def test_a_stopped_worker_ends_equal(supervisor: Supervisor, tmp_path: Path) -> None:
    """A worker that is stopped while others change everything has, once it goes on, what the owner has."""
    path = tmp_path / "seen"
    worker = supervisor.spawn_with(Restart.TEMPORARY, "reader", write_what_is_read, str(path))
    until(path.exists, "the worker reads")
    pid = worker.pid
    assert pid is not None
    os.kill(pid, signal.SIGSTOP)
    registry = supervisor.registry
    change_until_dropped(registry)
    change_at_random(registry, 5, 300)
    os.kill(pid, signal.SIGCONT)
    expected = [[view.id, view.status, view.pending_requests] for view in registry.get_all_backends(fresh=True)]
    until(lambda: path.read_text() == repr([1, expected]), "the worker has followed anew, once, and read the same")
    os.kill(pid, signal.SIGTERM)
    worker.join(10)


def test_copies_are_equal_after_changes_of_all(make: Make, supervisor: Supervisor) -> None:
    """Several processes change things at random while one reads; in the end all copies are what the owner has."""
    registries = [copying(make()) for _ in range(2)]
    workers = [
        supervisor.spawn_with(Restart.TRANSIENT, f"random-{seed}", change_at_random, seed, 60) for seed in range(2)
    ]
    chance = random.Random(1)
    for turn in range(80):
        registry = registries[turn % 2]
        change_at_random(registry, chance.randrange(1_000), 1)
        seen(registry)
    assert all(worker.join(30) is not None for worker in workers)
    expected = fresh(supervisor.registry)
    until(lambda: all(seen(registry) == expected for registry in registries), "the copies are equal")


def test_no_update_is_seen_in_part(supervisor: Supervisor) -> None:
    """A read of several backends, from any thread, sees an atomic batch whole or not at all."""
    registry = copying(Registry(supervisor._handle.attach()))
    stop = threading.Event()
    broken: list[object] = []

    def read() -> None:
        while not stop.is_set():
            reads = (registry.get_all_backends(), registry.get_backends_for_model("m"))
            broken.extend(views for views in reads if len({view.priority for view in views}) != 1)

    readers = [threading.Thread(target=read) for _ in range(3)]
    for reader in readers:
        reader.start()
    update = Registry.update_backend.call
    for turn in range(200):
        supervisor.registry.batch([update("b1", priority=turn), update("b2", priority=turn)], atomic=True)
    stop.set()
    for reader in readers:
        reader.join()
    assert broken == []
    registry.close()


def test_views_are_kept_until_something_of_them_changes(make: Make) -> None:
    """Two reads give the same object; after a change of a count another one, with the same models."""
    registry = copying(make())
    first = registry.get_backend("b1")
    assert isinstance(first, BackendView)
    assert registry.get_backend("b1") is first
    assert registry.get_backends_for_model("n")[0] is first
    registry.increment_pending("b2")
    assert registry.get_backend("b1") is first
    registry.increment_pending("b1")
    second = registry.get_backend("b1")
    assert isinstance(second, BackendView)
    assert (first.pending_requests, second.pending_requests) == (0, 1)
    assert second.models is first.models
    registry.batch([Registry.decrement_pending.call(id) for id in ("b1", "b2")])


def test_an_interrupted_read_loses_no_update(supervisor: Supervisor) -> None:
    """What was taken from the queue and not into the copy is made good for: the copy is asked for anew."""
    registry = copying(Registry(supervisor._handle.attach()))
    channel = registry._client._channel
    receive = channel._recv

    def interrupted(size: int, flags: int = 0, /) -> bytes:
        receive(size, flags)  # and lost
        raise KeyboardInterrupt

    channel._recv = interrupted
    supervisor.registry.update_status("b1", BackendStatus.UNHEALTHY, "gone")

    def is_interrupted() -> bool:
        try:
            registry.get_backend("b1")
        except KeyboardInterrupt:
            return True
        return False

    until(is_interrupted, "a read is interrupted")
    channel._recv = receive
    until(lambda: seen(registry) == fresh(registry), "the copy is equal")
    assert registry.replica.snapshots >= 1
    until(lambda: copying(registry).replica.snapshots == 2, "it was sent anew")
    registry.close()


def test_the_copy_of_a_fork_is_its_own(supervisor: Supervisor) -> None:
    """A child forgets its parent's, and reads by a session of its own; the parent's goes on."""
    registry = copying(Registry(supervisor._handle.attach(), supervisor._rejoin))

    def child() -> list[object]:
        before = registry.replica
        read = registry.backend_count()
        copying(registry)
        return [before.complete, before.rows, read, registry.replica.snapshots]

    assert in_fork(child) == [False, 0, 2, 1]
    assert registry.replica.complete
    assert registry.backend_count() == 2
    registry.close()


def test_no_other_thread_counts_in_the_midst_of_an_update(
    supervisor: Supervisor, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is counted has all of an atomic batch or nothing of it, as the lists have."""
    registry = copying(Registry(supervisor._handle.attach()))
    registry.copy.replica.current_until = float("inf")  # as if it had been read just now
    counted: list[Any] = []
    counting = [
        threading.Thread(target=lambda: counted.append(registry.backend_count())),
        threading.Thread(target=lambda: counted.append(registry.model_count())),
        threading.Thread(target=lambda: counted.append(registry.has_backend_url("http://b3:8000"))),
    ]
    changed = registry.copy.changed

    def slowly(view: str, key: str, record: Any) -> None:
        changed(view, key, record)
        if (view, key) == ("backends", "b3"):
            for thread in counting:
                thread.start()
            for thread in counting:
                thread.join(0.02)

    monkeypatch.setattr(registry.copy, "changed", slowly)
    added = [backend("b3", "o"), backend("b4", "p")]
    registry.batch([Registry.add_backend.call(one) for one in added], atomic=True)
    for thread in counting:
        thread.join()
    assert sorted(counted) == [True, 4, 4]
    registry.close()


def test_a_closed_registry_reads_nothing(make: Make) -> None:
    """The copy ends with the session."""
    registry = copying(make())
    registry.copy.replica.current_until = float("inf")  # as if it had been read just now
    face: Any = registry
    getattr(face, "_registry", face).close()
    with pytest.raises(SystemStopped):
        registry.get_backend("b1")
    with pytest.raises(SystemStopped):
        registry.get_all_backends()
    assert not registry.replica.complete


def test_a_stopped_system_is_noticed_by_a_read() -> None:
    """A copy does not outlive the system."""
    with Supervisor() as supervisor:
        registry = copying(Registry(supervisor._handle.attach()))

    def is_over() -> bool:
        try:
            registry.backend_count()
        except SystemStopped:
            return True
        return False

    until(is_over, "the read fails")
    registry.close()
