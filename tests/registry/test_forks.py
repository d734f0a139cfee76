"""Registries that are used in forked children.

Prefork servers (gunicorn with `--preload`, Celery) are represented by stand-ins made of `os.fork`, which is what they
call; they are not installed here.
"""

from __future__ import annotations

import asyncio
import gc
import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

import registry
from actors.errors import AttachFailed, StartedElsewhere
from actors.exits import Exit
from actors.processes.restarts import Restart
from registry import AsyncRegistry, Lease, Registry, Supervisor
from registry.directory import StateDirectory
from tests.forking import Forked, in_fork
from tests.polling import until
from tests.processes import open_files, program, running
from tests.registry import worker_functions as workers
from tests.registry.systems import A
from tests.registry.test_connection import raises_stopped


@pytest.fixture(params=["supervisor", "connection"])
def used(request: pytest.FixtureRequest, supervisor: Supervisor) -> Iterator[Registry]:
    """A registry of either origin that this process has used."""
    if request.param == "supervisor":
        yield supervisor.registry
        return
    with closing(registry.connect(supervisor.path)) as joined:
        joined.backend_count()
        yield joined


def held(supervisor: Supervisor) -> list[int]:
    """The sessions that hold leases."""
    return [held.session for held in supervisor.registry.get_leases()]


def total(supervisor: Supervisor) -> int:
    """Requests that have ended on the one backend."""
    view = supervisor.registry.get_backend("a", fresh=True)
    assert view is not None
    return view.total_requests


# -- a child joins anew --------------------------------------------------------------------------------------------


def test_a_forked_child_has_a_session_of_its_own(supervisor: Supervisor, used: Registry) -> None:
    """What it takes is its own and ends with it; the parent's goes on, and neither reads the other's answers."""
    with used.lease("m"):
        told, tell = os.pipe()

        def hold() -> None:
            used.acquire("m")
            os.write(tell, b".")
            threading.Event().wait()

        child = Forked(hold)
        os.read(told, 1)
        assert len(set(held(supervisor))) == 2
        child.kill()
        until(lambda: len(held(supervisor)) == 1, "what the child held is given back", 2)
        assert used.backend_count() == 1
        os.close(told)
        os.close(tell)


def test_children_and_parent_count_at_once(supervisor: Supervisor, used: Registry) -> None:
    """Five processes on one registry lose no command, double none, and get their own answers."""
    before = total(supervisor)

    def count() -> list[int]:
        return [used.increment_total_requests("a") for _ in range(500)]

    children = [Forked(count) for _ in range(4)]
    answers = count()
    for child in children:
        answers += child.result()
    assert sorted(answers) == list(range(before + 1, before + 2501))


def test_a_grandchild(supervisor: Supervisor, used: Registry) -> None:
    """Every generation joins for itself, also if the one between has never used the registry."""
    del supervisor
    assert in_fork(lambda: [used.backend_count(), in_fork(used.backend_count)]) == [1, 1]
    assert in_fork(lambda: in_fork(used.backend_count)) == 1


def test_forks_while_threads_hold_the_lock(supervisor: Supervisor, used: Registry) -> None:
    """A lock that a thread of the parent holds at that moment does not stop the child, and the threads go on."""
    del supervisor
    stopping = threading.Event()
    failures: list[BaseException] = []

    def ask() -> None:
        try:
            while not stopping.is_set():
                used.increment_total_requests("a")
        except BaseException as error:  # noqa: BLE001 - the test shall see it
            failures.append(error)

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    for _ in range(40):
        assert in_fork(used.backend_count) == 1
    stopping.set()
    for thread in threads:
        thread.join(10)
    assert not failures


def test_a_fork_at_the_worst_moment(supervisor: Supervisor, used: Registry) -> None:
    """The lock is certainly held when the child is made."""
    del supervisor
    with used._client._lock:
        child = Forked(used.backend_count)
    assert child.result() == 1


def test_two_threads_of_a_child_join_once(supervisor: Supervisor, used: Registry) -> None:
    """All threads of a child share its one session."""

    def use() -> list[int]:
        def ask() -> None:
            gate.wait()
            used.acquire("m")

        gate = threading.Barrier(5)
        threads = [threading.Thread(target=ask) for _ in range(5)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return [lease.session for lease in used.get_leases()]

    sessions = in_fork(use)
    assert len(sessions) == 5
    assert len(set(sessions)) == 1
    until(lambda: held(supervisor) == [], "what the child held is given back", 2)


def test_multiprocessing_fork_pool(supervisor: Supervisor) -> None:
    """A pool's workers use the registry that they inherited."""
    before = total(supervisor)
    with multiprocessing.get_context("fork").Pool(3, _inherit, (supervisor.registry,)) as pool:
        answers = pool.map(_count_one, range(60), chunksize=1)
    assert sorted(answers) == list(range(before + 1, before + 61))


_inherited: list[Registry] = []


def _inherit(inherited: Registry) -> None:
    _inherited.append(inherited)


def _count_one(_: int) -> int:
    return _inherited[0].increment_total_requests("a")


def test_a_worker_that_forks(supervisor: Supervisor) -> None:
    """A spawned worker and its forked child work side by side, with either face."""
    before = total(supervisor)
    assert supervisor.spawn_with(Restart.TEMPORARY, None, workers.fork_and_count, 100).join(20) == Exit(0, None)
    assert supervisor.spawn_with(Restart.TEMPORARY, None, workers.fork_and_count_async, 100).join(20) == Exit(0, None)
    # Besides what they counted, each gave back its own lease once, and the children could not do it for them.
    assert total(supervisor) == before + 2 * 201 + 2


def test_a_worker_keeps_its_line_for_itself(supervisor: Supervisor) -> None:
    """The forked child of a spawned worker has neither its queue nor its line to the supervisor."""
    assert supervisor.spawn_with(Restart.TEMPORARY, None, workers.fork_and_compare).join(20) == Exit(0, None)


PREFORK = """
import os, signal, sys, threading, registry

joined = registry.connect(sys.argv[1])  # the application is loaded before the workers are forked
joined.backend_count()

def work():
    with joined.lease("m"):
        os.write(1, b"%d " % os.getpid())  # in one piece
        threading.Event().wait()

children = []
for _ in range(3):
    pid = os.fork()
    if not pid:
        work()
    children.append(pid)
for pid in children:
    os.waitpid(pid, 0)
"""


def test_a_prefork_server(supervisor: Supervisor, tmp_path: Path) -> None:
    """Workers forked by a master that had joined are sessions like others: each gives back its own when killed."""
    script = tmp_path / "master.py"
    script.write_text(PREFORK)
    with program(str(script), str(supervisor.path)) as run:
        until(lambda: len(run.stdout.split()) == 3 and run.stdout.endswith(" "), "three workers hold leases", 20)
        pids = run.stdout.split()
        assert len(set(held(supervisor))) == 3
        os.kill(int(pids[0]), signal.SIGKILL)
        until(lambda: len(held(supervisor)) == 2, "the killed worker's lease is given back", 2)
        run.kill()
        until(lambda: len(held(supervisor)) == 2, "the master's end is not that of its workers")
        for pid in pids[1:]:
            os.kill(int(pid), signal.SIGKILL)
        until(lambda: held(supervisor) == [], "all leases are given back", 2)


# -- asyncio -------------------------------------------------------------------------------------------------------


def test_the_asyncio_face_in_a_child(supervisor: Supervisor) -> None:
    """It joins on the loop that runs in the child, and the parent's loop notices nothing."""
    before = total(supervisor)

    async def parent() -> int:
        joined = await registry.connect_async(supervisor.path)

        async def count() -> list[int]:
            return await asyncio.gather(*(joined.increment_total_requests("a") for _ in range(50)))

        async with joined.lease("m"):
            child = Forked(lambda: asyncio.run(count()))
            mine = await count()
            theirs = await asyncio.to_thread(child.result)
            assert sorted(mine + theirs) == list(range(before + 1, before + 101))
            assert len(held(supervisor)) == 1
        joined.close()
        return len(mine)

    assert asyncio.run(parent()) == 50


def test_the_child_of_a_closed_loop(supervisor: Supervisor) -> None:
    """A registry made in a loop that has ended is of no use in the parent any more, but it is in a child."""

    async def make() -> AsyncRegistry:
        return await supervisor.async_registry()

    made = asyncio.run(make())

    async def count() -> int:
        return await made.backend_count()

    assert in_fork(lambda: asyncio.run(count())) == 1
    made._client._channel.close()


def test_a_child_that_tells_first(supervisor: Supervisor) -> None:
    """What is not awaited joins as well, and is done."""

    async def tell_and_look(joined: AsyncRegistry) -> dict[int, int]:
        joined.count_http_error(599)
        return (await joined.metrics()).http_errors

    async def parent() -> None:
        with closing(await supervisor.async_registry()) as joined:
            errors = await asyncio.to_thread(in_fork, lambda: asyncio.run(tell_and_look(joined)))
            assert errors == {599: 1}

    asyncio.run(parent())


def test_a_tell_while_an_ask_joins(supervisor: Supervisor) -> None:
    """Both get through, and only one session is left of two."""

    async def tell_and_ask(joined: AsyncRegistry) -> list[int]:
        asking = asyncio.ensure_future(joined.acquire("m"))
        await asyncio.sleep(0)
        assert joined._client._absent
        joined.count_http_error(598)
        session = joined._client.session
        await asking
        return [lease.session for lease in await joined.get_leases() if joined._client.session is session]

    async def parent() -> None:
        with closing(await supervisor.async_registry()) as joined:
            sessions = await asyncio.to_thread(in_fork, lambda: asyncio.run(tell_and_ask(joined)))
            assert len(sessions) == 1

    asyncio.run(parent())
    until(lambda: held(supervisor) == [], "what the child held is given back", 2)


# -- what a child inherits ------------------------------------------------------------------------------------------


def test_an_inherited_lease_is_inert(supervisor: Supervisor, used: Registry) -> None:
    """Releasing it in the child does nothing, however it is done, and does not even join; the parent's stays."""

    def leave(block: Any) -> bool:
        block.__exit__(None, None, None)
        used.release(lease)
        return lease.is_inherited and used._client._absent

    block = used.lease("m")
    lease = block.__enter__()
    assert not lease.is_inherited
    assert in_fork(lambda: leave(block)) is True
    assert len(held(supervisor)) == 1
    block.__exit__(None, None, None)
    assert held(supervisor) == []


def test_an_inherited_lease_and_the_asyncio_face(supervisor: Supervisor) -> None:
    """There too a release in the child does nothing, awaited or not, and does not even join."""

    async def release(joined: AsyncRegistry, lease: Lease) -> bool:
        await joined.release(lease)
        joined.release_nowait(lease)
        return joined._client._absent

    async def parent() -> None:
        with closing(await supervisor.async_registry()) as joined:
            async with joined.lease("m") as lease:
                assert await asyncio.to_thread(in_fork, lambda: asyncio.run(release(joined, lease))) is True
                assert len(held(supervisor)) == 1

    asyncio.run(parent())


def test_an_exception_in_an_inherited_block(supervisor: Supervisor, used: Registry) -> None:
    """A child that leaves the block by an error ends with that error, and the lease is still the parent's."""

    def fail() -> None:
        raise ZeroDivisionError

    with used.lease("m"):
        with pytest.raises(AssertionError, match="ZeroDivisionError"):
            in_fork(lambda: _leave(used, fail))
        assert len(held(supervisor)) == 1


def _leave(used: Registry, fail: Callable[[], None]) -> None:
    with used.lease("m"):
        fail()


def test_the_childs_own_lease_is_its_to_release(supervisor: Supervisor, used: Registry) -> None:
    """A lease acquired after the fork works as everywhere."""

    def use() -> list[bool]:
        with used.lease("m") as lease:
            inside = len(used.get_leases()) == 1 and not lease.is_inherited
        return [inside, used.get_leases() == []]

    before = total(supervisor)
    assert in_fork(use) == [True, True]
    assert total(supervisor) == before + 1


def test_a_lease_says_the_same_after_a_fork() -> None:
    """Its values are compared as before."""
    lease = Lease(1, "a", "http://a", "m", 5.0)
    assert in_fork(lambda: lease.generation + 1 == Lease(1, "a", "http://a", "m", 5.0).generation) is True


def test_a_closed_registry_stays_closed(supervisor: Supervisor) -> None:
    """A child does not bring to life what its parent has closed, nor what it has closed itself before its first use."""
    joined = registry.connect(supervisor.path)

    def close_and_use() -> bool:
        joined.close()
        return raises_stopped(joined)

    assert in_fork(close_and_use) is True
    assert joined.backend_count() == 1
    joined.close()
    assert in_fork(lambda: raises_stopped(joined)) is True


def test_the_descriptors_of_the_parent_are_closed() -> None:
    """A child that uses nothing keeps nothing of the system open: no queue, no line to the supervisor, no lock."""
    before = set(open_files())
    with Supervisor() as system, closing(registry.connect(system.path)) as joined:
        assert system.registry.backend_count() == joined.backend_count() == 0
        systems = {file for file in set(open_files()) - before if not file.startswith("/proc")}
        assert len(systems) >= 5
        assert in_fork(lambda: sorted(set(open_files()) & systems - {"anon_inode:[pidfd]"})) == []


# -- the handle in a child -----------------------------------------------------------------------------------------


def test_a_child_cannot_steer_the_parents_system(supervisor: Supervisor) -> None:
    """Only the process that started the system can; the child is told so, and the system goes on."""
    worker = supervisor.spawn_with(Restart.TEMPORARY, None, workers.hold, "m")
    until(lambda: held(supervisor), "the worker holds a lease")

    def try_all() -> list[str]:
        errors = []
        for attempt in (supervisor.processes, lambda: supervisor.spawn(workers.hold, "m"), lambda: worker.join(0)):
            try:
                attempt()
            except StartedElsewhere as error:
                errors.append(str(error))
        supervisor.stop()
        with supervisor:
            pass
        return errors

    errors = in_fork(try_all)
    assert len(errors) == 3
    assert "forked from the one that started the system" in errors[0]
    assert worker.join(0) is None
    os.kill(worker.pid or 0, signal.SIGKILL)
    worker.join(10)


def test_a_child_may_ask_for_its_first_registry() -> None:
    """`Supervisor.registry` and `async_registry` work in a child also if the parent has never used them."""

    async def count() -> int:
        with closing(await system.async_registry()) as joined:
            return await joined.backend_count()

    def count_at_first() -> int:
        return system.registry.backend_count()

    with Supervisor() as system:
        assert in_fork(count_at_first) == 0
        assert in_fork(lambda: asyncio.run(count())) == 0


def test_the_end_of_a_child_is_not_that_of_the_system() -> None:
    """A child whose copies are thrown away, as at the end of a program, stops nothing and warns of nothing."""
    systems = [Supervisor()]

    def end() -> None:
        systems.clear()
        gc.collect()

    assert in_fork(end) is None
    (system,) = systems
    assert system.registry.backend_count() == 0
    system.stop()


LONG_LIVED_CHILD = """
import os, threading
from registry import Supervisor

if __name__ == "__main__":
    supervisor = Supervisor({directory!r})
    supervisor.registry.backend_count()
    if not os.fork():
        supervisor.registry.backend_count()
        os.write(1, b"%d %d " % (os.getpid(), supervisor.pid))  # in one piece
    threading.Event().wait()
"""


def test_the_parents_death_is_seen_although_a_child_lives(tmp_path: Path) -> None:
    """The system ends with the program that started it, and its directory is free for the next one at once."""
    script = tmp_path / "script.py"
    directory = tmp_path / "data"
    script.write_text(LONG_LIVED_CHILD.format(directory=str(directory)))
    with program(str(script)) as run:
        until(lambda: run.stdout.endswith(" "), "the child has joined", 20)
        child, supervisor = (int(pid) for pid in run.stdout.split())
        run.kill()
        until(lambda: not running([supervisor]), "the supervisor is gone", 5)
        assert running([child])
        with Supervisor(directory) as again:
            assert again.registry.backend_count() == 0
        os.kill(child, signal.SIGKILL)


def test_a_child_finds_the_next_system(tmp_path: Path) -> None:
    """A child joins when it first needs to: by then it may be another system, or none."""
    go, release = os.pipe()
    with Supervisor(tmp_path) as first:
        joined = first.registry
        joined.add_backend(A)

        def wait_and_use() -> int:
            os.read(go, 1)
            return joined.backend_count()

        late, later = Forked(wait_and_use), Forked(wait_and_use)
    with Supervisor(tmp_path):
        os.write(release, b".")
        until(lambda: late.has_ended or later.has_ended, "one of them has used the next system")
    os.write(release, b".")
    failures = []
    for child in (late, later):
        try:
            assert child.result() == 1
        except AssertionError as error:
            failures.append(str(error))
    assert len(failures) == 1
    assert AttachFailed.__name__ in failures[0]
    os.close(go)
    os.close(release)


def test_the_lock_of_a_directory_is_the_parents(tmp_path: Path) -> None:
    """A child that lives on does not keep the directory locked, and closing it there removes nothing."""
    directory = StateDirectory(None, "me")
    in_fork(directory.close)
    assert directory.path.exists()
    child = Forked(threading.Event().wait)
    directory.close()
    assert not directory.path.exists()
    locked = StateDirectory(tmp_path, "first")
    other = Forked(threading.Event().wait)
    locked.close()
    StateDirectory(tmp_path, "second").close()
    child.kill()
    other.kill()
