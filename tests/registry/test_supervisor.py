"""`registry.Supervisor`: a system started from a user's program, its workers and its end."""

from __future__ import annotations

import asyncio
import functools
import os
import signal
import threading
from collections import Counter
from pathlib import Path
from typing import Any

import psutil
import pytest

from actors.errors import AlreadyRunning, StartFailed, SupervisorError, SystemStopped
from actors.exits import Exit
from actors.processes import directory_lock
from actors.processes.restarts import Restart
from registry import BackendStatus, Supervisor, Worker
from tests.polling import until
from tests.processes import program, running
from tests.registry import worker_functions as workers
from tests.registry.systems import A, B


@pytest.fixture
def supervisor(running_supervisor: Supervisor) -> Supervisor:
    """The system with two idle backends and no history."""
    registry = running_supervisor.registry
    for view in registry.get_all_backends(fresh=True):
        registry.remove_backend(view.id)
    until(lambda: not registry.get_leases(), "the workers of the test before have gone")
    registry.add_backend(A)
    registry.add_backend(B)
    return running_supervisor


def pending(supervisor: Supervisor) -> dict[str, int]:
    """Requests in flight by backend."""
    return {view.id: view.pending_requests for view in supervisor.registry.get_all_backends(fresh=True)}


def pid_of(worker: Worker) -> int:
    """The process id of a worker that lives."""
    pid = worker.pid
    assert pid is not None
    return pid


def kill_once_holding(supervisor: Supervisor, worker: Worker) -> None:
    """SIGKILL a worker that runs `hold` as soon as it holds something."""
    until(lambda: sum(pending(supervisor).values()) == 2, "the worker holds a lease and an increment")
    os.kill(pid_of(worker), signal.SIGKILL)


def test_workers_count_exactly(supervisor: Supervisor) -> None:
    """Several processes count at the same time, and no count is lost or doubled."""
    spawned = [supervisor.spawn(workers.count, "a", 200, release=False) for _ in range(3)]
    spawned += [supervisor.spawn(workers.acquire_and_release, "m", 200) for _ in range(2)]
    assert [worker.join(30) for worker in spawned] == [Exit(0, None)] * 5
    # The increments of a process end with it, its totals stay.
    until(lambda: pending(supervisor) == {"a": 0, "b": 0}, "what the workers held is given back")
    assert sum(view.total_requests for view in supervisor.registry.get_all_backends(fresh=True)) == 400


def test_worker_that_is_killed_gives_back_all_it_held(supervisor: Supervisor) -> None:
    """Leases and increments end with a SIGKILL; other sessions keep theirs."""
    kept = supervisor.registry.acquire("m")
    worker = supervisor.spawn_with(Restart.TEMPORARY, None, workers.hold, "m")
    until(lambda: sum(pending(supervisor).values()) == 3, "the worker holds a lease and an increment")
    os.kill(pid_of(worker), signal.SIGKILL)
    assert worker.join(10) == Exit(None, signal.SIGKILL)
    until(lambda: sum(pending(supervisor).values()) == 1, "what the worker held is given back")
    assert [held.id for held in supervisor.registry.get_leases()] == [kept.id]
    supervisor.registry.release(kept)


@pytest.mark.parametrize(
    ("restart", "code", "expected"),
    [(Restart.TRANSIENT, 0, 0), (Restart.TEMPORARY, 0, 0), (Restart.TEMPORARY, 5, 5)],
)
def test_join_tells_the_exit_code(supervisor: Supervisor, restart: Restart, code: int, expected: int) -> None:
    """A worker that is not to be started again tells how it ended, every time it is asked, and has no pid then."""
    worker = supervisor.spawn_with(restart, None, workers.leave, code)
    assert worker.join(10) == Exit(expected, None)
    assert worker.join(10) == Exit(expected, None)
    assert worker.pid is None
    assert repr(worker) == f"<Worker {worker.name!r}>"


def test_exception_is_an_exit_code_of_one(supervisor: Supervisor) -> None:
    """A worker function that raises ends its process as a script would."""
    assert supervisor.spawn_with(Restart.TEMPORARY, None, workers.fail).join(10) == Exit(1, None)


def test_join_gives_up_at_its_timeout(supervisor: Supervisor) -> None:
    """A worker that goes on is no error of a join with a timeout."""
    worker = supervisor.spawn_with(Restart.TEMPORARY, None, workers.hold, "m")
    assert worker.join(0.01) is None
    kill_once_holding(supervisor, worker)
    assert worker.join(10) == Exit(None, signal.SIGKILL)
    until(lambda: pending(supervisor) == {"a": 0, "b": 0}, "what the worker held is given back")


def test_crashed_worker_is_started_again(supervisor: Supervisor, tmp_path: Path) -> None:
    """A worker that crashes runs once more, in a new process, until it ends well."""
    notes = tmp_path / "lives"
    worker = supervisor.spawn(workers.fail_once, str(notes))
    assert worker.join(10) == Exit(0, None)
    assert len(set(notes.read_text().split())) == 2
    (info,) = (info for info in supervisor.processes() if info.name == worker.name)
    assert (info.pid, info.restarts) == (None, 1)


def test_killed_worker_is_started_again_with_a_new_session() -> None:
    """Whatever the first life held is gone, and the second one holds its own, also while it is stopped."""
    with Supervisor() as supervisor:
        supervisor.registry.add_backend(A)
        worker = supervisor.spawn(workers.hold, "m")
        before = until(lambda: worker.pid, "the worker runs")
        kill_once_holding(supervisor, worker)
        until(lambda: worker.pid not in {None, before}, "the worker runs again")
        until(lambda: pending(supervisor) == {"a": 2}, "the second life holds what the first one did")
        (info,) = (info for info in supervisor.processes() if info.name == worker.name)
        assert {held.session for held in supervisor.registry.get_leases()} == {info.session}
        os.kill(pid_of(worker), signal.SIGSTOP)
        assert pending(supervisor) == {"a": 2}
        os.kill(pid_of(worker), signal.SIGCONT)


def test_name_that_is_taken(supervisor: Supervisor) -> None:
    """Two workers cannot have one name while both live, nor the owner's; after its end a name is free again."""
    first = supervisor.spawn_with(Restart.TEMPORARY, "named", workers.hold, "m")
    for name in ("owner", "named"):
        with pytest.raises(SupervisorError, match=f"already a process of the name '{name}'"):
            supervisor.spawn_with(Restart.TEMPORARY, name, workers.leave, 0)
    kill_once_holding(supervisor, first)
    assert first.join(10) == Exit(None, signal.SIGKILL)
    again = supervisor.spawn_with(Restart.TEMPORARY, "named", workers.leave, 4)
    assert again.join(10) == Exit(4, None)


@pytest.mark.parametrize(
    ("restart", "name", "reason"),
    [
        ("crasher", None, "restart must be one of Restart.PERMANENT, Restart.TRANSIENT, Restart.TEMPORARY"),
        ([], None, "restart must be one of"),
        (Restart.TEMPORARY, 5, "name must be 1 to 200 printable characters, or None, not 5"),
        (Restart.TEMPORARY, "", "name must be"),
        (Restart.TEMPORARY, "x" * 201, "name must be"),
        (Restart.TEMPORARY, "\ud800", "name must be"),
    ],
)
def test_what_no_worker_can_be_spawned_with(
    running_supervisor: Supervisor, restart: Any, name: Any, reason: str
) -> None:
    """A wrong policy or name is refused with a sentence, and the system goes on."""
    before = running_supervisor.processes()
    with pytest.raises(ValueError, match=reason):
        running_supervisor.spawn_with(restart, name, workers.leave, 0)
    assert running_supervisor.processes() == before


def test_unpicklable_function(running_supervisor: Supervisor) -> None:
    """A function that no other process could import is refused at once, and so is such an argument."""
    before = running_supervisor.processes()
    with pytest.raises(SupervisorError, match="picklable"):
        running_supervisor.spawn(lambda registry: registry.backend_count())
    with pytest.raises(SupervisorError, match="picklable"):
        running_supervisor.spawn(workers.count, threading.Lock(), 1)  # type: ignore[arg-type]  # the point
    assert running_supervisor.processes() == before


def test_what_is_no_function_is_not_spawned(running_supervisor: Supervisor) -> None:
    """The error says what it must be; a function with some of its arguments is one, though it has no name."""
    before = running_supervisor.processes()
    with pytest.raises(SupervisorError, match="what a worker process runs must be a function, not 5"):
        running_supervisor.spawn(5)  # type: ignore[arg-type]  # the point
    assert running_supervisor.processes() == before
    worker = running_supervisor.spawn_with(Restart.TEMPORARY, None, functools.partial(workers.leave, code=4))
    assert worker.name.startswith("partial-")
    assert worker.join(20) == Exit(4, None)


def test_join_of_a_worker_nobody_knows(running_supervisor: Supervisor) -> None:
    """A name that was never spawned cannot be waited for."""
    with pytest.raises(SupervisorError, match="no process of the name 'nobody'"):
        Worker(running_supervisor._handle, "nobody").join(5)


def test_processes_are_children_of_the_supervisor(supervisor: Supervisor) -> None:
    """The owner and the workers are started by the supervisor process, which is started by this one."""
    assert psutil.Process(supervisor.pid).ppid() == os.getpid()
    infos = supervisor.processes()
    assert infos[0].name == "owner"
    parents = {psutil.Process(info.pid).ppid() for info in infos if info.pid is not None}
    assert parents == {supervisor.pid}


def test_statistics_and_stacks_of_a_running_system(running_supervisor: Supervisor) -> None:
    """What the processes take can be looked at, and a name that nobody has cannot be asked for stacks."""
    supervisor, owner = running_supervisor.statistics().processes[:2]
    assert (supervisor.name, supervisor.pid) == ("supervisor", running_supervisor.pid)
    assert owner.name == "owner"
    assert all(process.rss_bytes > 0 for process in (supervisor, owner))
    with pytest.raises(SupervisorError, match="no process of the name 'nobody' runs"):
        running_supervisor.dump_stacks("nobody")


def test_least_pending_spreads_over_processes(supervisor: Supervisor) -> None:
    """Leases of different processes are spread over the backends as those of one would be."""
    holders = [supervisor.spawn_with(Restart.TEMPORARY, None, workers.hold, "m") for _ in range(4)]
    until(lambda: len(supervisor.registry.get_leases()) == 4, "all workers hold leases")
    until(lambda: sum(pending(supervisor).values()) == 8, "all workers hold increments")
    assert Counter(held.backend for held in supervisor.registry.get_leases()).most_common(1)[0][1] <= 3
    for holder in holders:
        os.kill(pid_of(holder), signal.SIGKILL)
        assert holder.join(10) == Exit(None, signal.SIGKILL)


def test_backends_survive_stop_and_start(tmp_path: Path) -> None:
    """Durable state is there in the next system on the same directory, counts and leases are not, revisions go on."""
    with Supervisor(tmp_path) as first:
        first.registry.add_backend(A)
        first.registry.update_status("a", BackendStatus.DRAINING)
        first.registry.increment_pending("a")
        revision = first.registry.revision
        before = first.registry.get_backend("a", fresh=True)
    with Supervisor(tmp_path) as second:
        after = second.registry.get_backend("a", fresh=True)
        second.registry.add_backend(B)
        assert second.registry.revision == revision + 1
    assert before is not None
    assert before.pending_requests == 1
    assert after == before.model_copy(update={"pending_requests": 0})


def test_backends_survive_sigkill_of_everything(tmp_path: Path) -> None:
    """A change that was answered is there after every process was killed at once."""
    with Supervisor(tmp_path) as first:
        first.registry.add_backend(A)
        first.registry.add_backend(B)
        pids = [info.pid for info in first.processes() if info.pid is not None]
        for pid in (first.pid, *pids):
            os.kill(pid, signal.SIGKILL)
    with Supervisor(tmp_path) as second:
        assert [view.id for view in second.registry.get_all_backends()] == ["a", "b"]
        assert second.registry.revision == 2


def test_data_dir_in_use_names_the_holder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A second system on a directory is refused with the program and the process id of the first."""
    monkeypatch.setattr(directory_lock.lock_directory, "__defaults__", (0.0,))  # the first one is not leaving
    with Supervisor(tmp_path):
        with pytest.raises(AlreadyRunning, match=rf"\(pid {os.getpid()}\)") as refusal:
            Supervisor(tmp_path)
        assert refusal.value.directory == str(tmp_path)
    with Supervisor(tmp_path):
        pass


def test_damaged_journal_is_told_at_the_start(tmp_path: Path) -> None:
    """An owner that cannot start says why, and nothing of the system stays."""
    (tmp_path / "registry.db").write_bytes(b"this is no database\n" * 100)
    before = set(psutil.Process().children(recursive=True))
    with pytest.raises(StartFailed, match="file is not a database"):
        Supervisor(tmp_path)
    assert set(psutil.Process().children(recursive=True)) <= before


def test_ephemeral_directory_is_removed() -> None:
    """Without a data directory nothing of the state stays on the disk."""
    with Supervisor() as supervisor:
        directory = supervisor._directory.path
        supervisor.registry.add_backend(A)
        assert (directory / "registry.db").exists()
    assert not directory.exists()


def test_stop_ends_all_processes() -> None:
    """After `stop` no process is left, and calls say that the system has stopped."""
    supervisor = Supervisor()
    registry = supervisor.registry
    registry.add_backend(A)
    worker = supervisor.spawn(workers.hold, "m")
    until(registry.get_leases, "the worker holds a lease")
    pids = [supervisor.pid, *(info.pid for info in supervisor.processes() if info.pid is not None)]
    supervisor.stop()
    assert running(pids) == []
    with pytest.raises(SystemStopped):
        registry.backend_count()
    with pytest.raises(SystemStopped):
        supervisor.spawn(workers.hold, "m")
    with pytest.raises(SystemStopped):
        worker.join(1)


def test_stop_kills_a_worker_that_does_not_leave() -> None:
    """A worker that ignores the request to leave is killed when the budget is used up."""
    with Supervisor() as supervisor:
        supervisor.registry.add_backend(A)
        worker = supervisor.spawn(workers.ignore_sigterm, "m")
        until(supervisor.registry.get_leases, "the worker holds a lease")
        pid = pid_of(worker)
        supervisor.stop(budget_s=0.2)
        assert running([pid]) == []


def test_stop_twice() -> None:
    """A second `stop` finds nothing to do, and touches nothing that was opened since."""
    with Supervisor() as supervisor:
        supervisor.registry.backend_count()
        supervisor.stop()
        read, write = os.pipe()
        supervisor.stop()
    os.fstat(read)
    os.fstat(write)
    os.close(read)
    os.close(write)


def test_worker_waited_for_while_the_system_stops() -> None:
    """A thread that joins a worker is told when the system stops under it."""
    supervisor = Supervisor()
    worker = supervisor.spawn(workers.hold, "m")
    ended: list[object] = []

    def wait() -> None:
        try:
            ended.append(worker.join(20))
        except SystemStopped as error:
            ended.append(error)

    waiting = threading.Thread(target=wait)
    waiting.start()
    supervisor.stop()
    waiting.join(20)
    assert len(ended) == 1


# -- scripts as a user writes them ---------------------------------------------------------------------------

GUARDED = """
import sys, threading
from registry import Backend, Model, Supervisor

def work(registry, times):
    for _ in range(times):
        registry.increment_pending("a")
        registry.increment_total_requests("a")

if __name__ == "__main__":
    with Supervisor() as supervisor:
        supervisor.registry.add_backend(Backend(url="http://a", id="a"))
        workers = [supervisor.spawn(work, 50) for _ in range(2)]
        print([worker.join(20).code for worker in workers])
        print(supervisor.registry.get_backend("a", fresh=True).total_requests)
"""

UNGUARDED = """
from registry import Supervisor

def work(registry):
    print("ran", registry.backend_count())

supervisor = Supervisor()
worker = supervisor.spawn(work)
print("exit", worker.join(20))
(restarts,) = (info.restarts for info in supervisor.processes() if info.name == worker.name)
print("restarts", restarts)
supervisor.stop()
"""

LONG = """
import threading
from registry import Backend, BackendStatus, Model, Supervisor

def hold(registry):
    with registry.lease("m"):
        threading.Event().wait()

if __name__ == "__main__":
    supervisor = Supervisor()
    backend = Backend(url="http://a", id="a", models=[Model(id="m")], status=BackendStatus.HEALTHY)
    supervisor.registry.add_backend(backend)
    supervisor.spawn(hold)
    while not supervisor.registry.get_leases():
        pass
    print(supervisor._directory.path, flush=True)
    print("holding", flush=True)
    {then}
"""


def test_script_with_a_guard(tmp_path: Path) -> None:
    """A function of the script itself runs in workers, and the script leaves nothing behind."""
    script = tmp_path / "script.py"
    script.write_text(GUARDED)
    with program(str(script)) as run:
        assert run.ends() == 0, run.stderr
        assert run.stdout == "[0, 0]\n100\n"
        assert run.stderr == ""
        run.leaves_nothing_running()


def test_script_without_a_guard_is_told_so(tmp_path: Path) -> None:
    """A script that would start a system in each worker is told once which line it lacks, and starts no second one."""
    script = tmp_path / "script.py"
    script.write_text(UNGUARDED)
    with program(str(script)) as run:
        assert run.ends() == 0
        (line,) = run.stderr.splitlines()
        assert line.startswith("WARNING actors.supervisor: work-1 did not start: this script starts a system")
        assert line.endswith("put the start under: if __name__ == '__main__':")
        assert run.stdout == "exit exit code 1\nrestarts 0\n"
        run.leaves_nothing_running()


def test_everything_ends_with_the_program(tmp_path: Path) -> None:
    """When the user's program is killed, all processes are gone within two seconds, and the temporary directory too."""
    script = tmp_path / "script.py"
    script.write_text(LONG.format(then="threading.Event().wait()"))
    with program(str(script)) as run:
        until(lambda: "holding" in run.stdout, "the worker holds a lease", 20)
        assert len(run.descendants()) >= 3
        run.kill()
        run.leaves_nothing_running(2.0)
        assert not Path(run.stdout.split()[0]).exists()


@pytest.mark.parametrize("then", ["raise SystemExit(7)", "raise KeyboardInterrupt", "import os; os._exit(7)"])
def test_program_that_never_stops_its_system(tmp_path: Path, then: str) -> None:
    """However a program ends, without `stop` too, nothing of its system stays."""
    script = tmp_path / "script.py"
    script.write_text(LONG.format(then=then))
    with program(str(script)) as run:
        assert run.ends() != 0
        run.leaves_nothing_running(2.0)


def test_supervisor_that_is_killed(tmp_path: Path) -> None:
    """When the supervisor is killed, all its processes leave, and the program is told at its next call."""
    with Supervisor(tmp_path) as supervisor:
        supervisor.registry.add_backend(A)
        supervisor.spawn(workers.hold, "m")
        until(supervisor.registry.get_leases, "the worker holds a lease")
        pids = [info.pid for info in supervisor.processes() if info.pid is not None]
        os.kill(supervisor.pid, signal.SIGKILL)
        until(lambda: not running(pids), "all processes are gone", 2.0)
        with pytest.raises(SystemStopped):
            supervisor.registry.backend_count()
        with pytest.raises(SystemStopped):
            supervisor.processes()


def test_async_function_is_handed_an_async_registry(supervisor: Supervisor) -> None:
    """An `async def` runs in an event loop of the worker process, to its end."""
    assert supervisor.spawn_with(Restart.TEMPORARY, None, workers.count_backends_async, 2).join(20) == Exit(0, None)


def test_async_registry_of_the_program(supervisor: Supervisor) -> None:
    """The program itself can have the asyncio face beside the blocking one; both see the same."""

    async def count() -> int:
        registry = await supervisor.async_registry()
        try:
            return await registry.backend_count()
        finally:
            registry.close()

    assert asyncio.run(count()) == supervisor.registry.backend_count()
