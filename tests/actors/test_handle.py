"""Whole systems of real processes, as a user's program starts them."""

import contextlib
import logging
import os
import signal
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import psutil
import pytest

from actors.children import ChildInfo
from actors.client import Client
from actors.errors import StartFailed, SupervisorError, SystemStopped
from actors.exits import Exit
from actors.functions import pack
from actors.handle import Handle, Settings
from actors.restarts import Restart, RestartPolicy
from tests.actors.counter import Get, Held, Increment
from tests.actors.owners import decode, encode
from tests.actors.workers import write_file
from tests.polling import until
from tests.processes import Program, running

ACTOR = "tests.actors.counter:build"
OFTEN = RestartPolicy(intensity=1_000, first_delay_s=0.001, longest_delay_s=0.001)


class System:
    """A running system, and a session of the test's own."""

    def __init__(self, actor: str = ACTOR) -> None:
        self.handle = Handle(Settings(actor, b"", 5.0, logging.CRITICAL))
        self.client = Client(self.handle.attach())

    def ask(self, command: Any) -> Any:
        return decode(self.client.ask(encode(command)))

    def spawn(self, name: str, function: str, payload: bytes = b"", policy: RestartPolicy = OFTEN) -> ChildInfo:
        self.handle.spawn(name, f"tests.actors.workers:{function}", payload, policy)
        return self.ready(name)

    def info(self, name: str) -> ChildInfo:
        return next(info for info in self.handle.processes() if info.name == name)

    def ready(self, name: str, restarts: int = 0) -> ChildInfo:
        """Wait until a process works, after at least so many restarts."""

        def works() -> bool:
            info = self.info(name)
            return info.ready and info.restarts >= restarts

        until(works, f"{name} works after {restarts} restarts")
        return self.info(name)

    def pids(self) -> list[int]:
        return [self.handle.pid, *(pid for info in self.handle.processes() if (pid := info.pid))]

    def close(self) -> None:
        self.client.close()
        self.handle.stop(0.5)


@pytest.fixture
def system() -> Iterator[System]:
    """A system that runs for one test."""
    system = System()
    yield system
    system.close()


def pid_of(info: ChildInfo) -> int:
    """A process's id; it must have one."""
    assert info.pid is not None
    return info.pid


def test_a_killed_worker_gives_back_what_it_held_and_comes_back(system: System) -> None:
    """Its session ends; its next life is a new session."""
    first = system.spawn("w", "hold")
    assert system.ask(Held()) == 1
    os.kill(pid_of(first), signal.SIGKILL)
    second = system.ready("w", 1)
    assert second.pid != first.pid
    assert second.session > first.session
    assert system.ask(Held()) == 1


def test_a_stopped_worker_delays_nobody(system: System) -> None:
    """Others are answered, what it held is still its own, and a stop of the system does not wait for it."""
    worker = system.spawn("w", "hold")
    os.kill(pid_of(worker), signal.SIGSTOP)
    assert [system.ask(Increment("a")) for _ in range(100)] == list(range(1, 101))
    assert system.ask(Held()) == 1
    system.handle.stop(0.1)
    assert system.handle.exit == Exit(0, None)
    assert not running([pid_of(worker)])


def test_a_flooding_worker_does_not_keep_others_waiting(system: System) -> None:
    """It fills its own queue only."""
    system.spawn("w", "flood")
    assert [system.ask(Increment("a")) for _ in range(100)] == list(range(1, 101))


def test_kills_of_the_owner_under_load_lose_nothing_and_are_not_seen(system: System) -> None:
    """Several workers count while the owner is killed again and again: each command is done exactly once."""
    workers, each = 3, 3_000
    policy = RestartPolicy(Restart.TEMPORARY)
    for number in range(workers):
        system.spawn(f"w{number}", "increment", msgspec.msgpack.encode(("a", each)), policy)
    for kills in range(1, 6):
        os.kill(pid_of(system.info("owner")), signal.SIGKILL)
        system.ready("owner", kills)
        wanted = min(workers * each, system.ask(Get("a")) + 300)
        while system.ask(Get("a")) < wanted:
            pass
    assert [system.handle.wait(f"w{number}", 60) for number in range(workers)] == [Exit(0, None)] * workers
    assert system.ask(Get("a")) == workers * each


def test_a_killed_worker_and_a_killed_owner_at_once_leak_nothing(system: System) -> None:
    """Whichever death is noticed first, what the worker held is given back once."""
    for turn in range(3):
        worker, owner = system.ready("w", turn) if turn else system.spawn("w", "hold"), system.info("owner")
        for pid in (pid_of(worker), pid_of(owner)):
            os.kill(pid, signal.SIGKILL)
        system.ready("owner", turn + 1)
        system.ready("w", turn + 1)
        assert system.ask(Held()) == 1


@pytest.mark.parametrize("function", ["hold", "hold_without_threads"])
def test_no_process_outlives_a_killed_supervisor(system: System, function: str) -> None:
    """Workers and owner leave, whether a thread of theirs watches or only the kernel does."""
    system.spawn("w", function)
    pids = system.pids()
    os.kill(system.handle.pid, signal.SIGKILL)
    until(lambda: not running(pids), "nothing is left")
    with pytest.raises(SystemStopped):
        system.ask(Held())
    assert system.handle.exit == Exit(None, signal.SIGKILL)
    with pytest.raises(SystemStopped):
        system.handle.processes()


def test_a_worker_that_is_deaf_to_sigterm_is_killed_at_the_end_of_the_budget(system: System) -> None:
    """The stop takes its budget and no more; the system's own exit is clean."""
    worker = system.spawn("w", "hold_stubbornly")
    system.handle.stop(0.1)
    assert not running([pid_of(worker)])
    assert system.handle.exit == Exit(0, None)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_repeated_signal_hurries_the_stop(system: System, number: signal.Signals) -> None:
    """The first gives the workers their budget, a later one ends it."""
    worker = system.spawn("w", "hold_stubbornly")

    def hurried() -> bool:
        with contextlib.suppress(ProcessLookupError):
            os.kill(system.handle.pid, number)
        return not running([system.handle.pid, pid_of(worker)])

    until(hurried, "the system has stopped", 4.0)  # the budget alone would be 5 s


def test_a_supervisor_that_hangs_does_not_hang_its_user(system: System, monkeypatch: pytest.MonkeyPatch) -> None:
    """A stop that is not obeyed in time ends with SIGKILL for the supervisor, and with it everything."""
    monkeypatch.setattr("actors.handle.STOP_MARGIN_S", 0.2)
    pids = system.pids()
    os.kill(system.handle.pid, signal.SIGSTOP)
    system.handle.stop(0.1)
    assert system.handle.exit == Exit(None, signal.SIGKILL)
    until(lambda: not running(pids), "nothing is left")


def test_the_end_of_a_worker_is_told_to_who_waits(system: System) -> None:
    """A clean end is final for a transient worker; waiting in small steps does not pile anything up."""
    system.spawn("stays", "hold")
    assert system.handle.wait("stays", 0.01) is None
    assert system.handle.wait("stays", 0.01) is None
    assert not [1 for future in system.handle._awaited.values() if future.done()]
    system.handle.spawn("ends", "tests.actors.workers:end_well", b"", RestartPolicy(Restart.TRANSIENT))
    assert system.handle.wait("ends", 30) == Exit(0, None)
    with pytest.raises(SupervisorError, match="no process of the name"):
        system.handle.wait("absent", 1)


def test_a_name_is_taken_until_its_process_has_ended_for_good(system: System) -> None:
    """Then it can be used again."""
    policy = RestartPolicy(Restart.TEMPORARY)
    worker = system.spawn("w", "hold", policy=policy)
    for name in ("w", "owner"):
        with pytest.raises(SupervisorError, match="already a process"):
            system.handle.spawn(name, "tests.actors.workers:hold", b"", policy)
    os.kill(pid_of(worker), signal.SIGKILL)
    assert system.handle.wait("w", 10) == Exit(None, signal.SIGKILL)
    system.spawn("w", "hold", policy=policy)
    assert system.handle.wait("w", 0.01) is None


@pytest.mark.parametrize(
    ("function", "says"),
    [
        ("crash", r"w: exit code 3; it crashed too often"),
        ("fail_to_start", r"w: there is no tea; it failed to start too often"),
        ("absent", r"w: exit code 1; it failed to start too often"),
    ],
)
def test_too_many_short_lives_stop_the_system_with_the_reason(system: System, function: str, says: str) -> None:
    """A crash is told apart from a failed start, and every caller learns why the system has stopped."""
    policy = RestartPolicy(intensity=2, first_delay_s=0.01)
    system.handle.spawn("w", f"tests.actors.workers:{function}", b"", policy)
    until(lambda: system.handle.exit is not None, "the system has stopped", 30)
    assert system.handle.exit == Exit(1, None)
    with pytest.raises(SystemStopped, match=says):
        system.handle.processes()


@pytest.mark.parametrize("actor", ["tests.actors.counter:absent", "tests.actors.test_handle:cannot_build"])
def test_an_owner_that_cannot_start_is_an_error_for_who_starts_the_system(actor: str) -> None:
    """Not a restart: the reason is raised where the system was to be made."""
    with pytest.raises(StartFailed, match="no tea" if "cannot" in actor else "exit code 1"):
        System(actor)


def cannot_build(options: bytes) -> Any:
    """An actor that is never made."""
    del options
    raise StartFailed("no tea")


def test_restarts_leak_no_descriptor(system: System) -> None:
    """After 50 lives of a worker the supervisor and the owner hold as many descriptors as after 5."""

    def held() -> list[int]:
        return [
            len(list(Path(f"/proc/{pid}/fd").iterdir())) for pid in (system.handle.pid, pid_of(system.info("owner")))
        ]

    system.handle.spawn("w", "tests.actors.workers:descriptors", b"", OFTEN)
    until(lambda: system.info("w").restarts >= 5, "5 lives", 30)
    before = held()
    until(lambda: system.info("w").restarts >= 50, "50 lives", 60)
    until(lambda: all(now <= then + 4 for now, then in zip(held(), before, strict=True)), "descriptors are given back")


def test_the_supervisor_and_its_children_may_have_many_descriptors(system: System) -> None:
    """Each session costs some, so the soft limit is raised to the hard one."""
    for pid in (system.handle.pid, pid_of(system.info("owner"))):
        soft, hard = psutil.Process(pid).rlimit(psutil.RLIMIT_NOFILE)
        assert soft == min(hard, 2**20)


def test_a_users_function_runs_in_a_process_of_its_own(system: System, tmp_path: Path) -> None:
    """It is sent as bytes and opened only there."""
    path = tmp_path / "trace"
    policy = RestartPolicy(Restart.TEMPORARY)
    system.handle.spawn(
        "w", "tests.actors.workers:run_function", pack(write_file, (str(path),), {"text": "here"}), policy
    )
    assert system.handle.wait("w", 30) == Exit(0, None)
    assert path.read_text() == "here"


SCRIPT = """
import logging, sys, os, signal
from actors.handle import Handle, Settings
from actors.restarts import RestartPolicy
if __name__ == "__main__":
    handle = Handle(Settings("tests.actors.counter:build", b"", 1.0, logging.CRITICAL))
    handle.spawn("w", "tests.actors.workers:hold", b"", RestartPolicy())
    handle.spawn("v", "tests.actors.workers:hold_stubbornly", b"", RestartPolicy())
    if sys.argv[1] == "forks" and not os.fork():
        signal.pause()
    print("started", flush=True)
    signal.pause() if sys.argv[1] != "ends" else None
"""


@contextlib.contextmanager
def started_by(program: Program) -> Iterator[Program]:
    """A program whose system works, and nothing of it afterwards."""
    try:
        until(lambda: "started" in program.stdout, "the system has started", 30)
        yield program
    finally:
        program.close()


@pytest.mark.parametrize("how", ["is killed", "is interrupted", "ends"])
def test_everything_ends_with_the_users_program(tmp_path: Path, how: str) -> None:
    """However the program ends, also without a word to the system, no process is left."""
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    with started_by(Program([str(script), how.rsplit(maxsplit=1)[-1]])) as program:
        if how != "ends":
            program.kill(signal.SIGKILL if how == "is killed" else signal.SIGINT)
        program.ends()
        until(lambda: not program.descendants(), "nothing is left")


def test_a_child_that_the_users_program_forked_does_not_keep_the_system_alive(tmp_path: Path) -> None:
    """It holds a duplicate of the line to the supervisor, which therefore watches the program itself too."""
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    with started_by(Program([str(script), "forks"])) as program:
        program.kill()
        program.ends()
        until(lambda: len(program.descendants()) == 1, "only the fork is left")


def test_all_threads_may_use_the_handle(system: System) -> None:
    """Requests of several threads at a time are each answered to the one that asked."""
    found: list[bool] = []

    def use(number: int) -> None:
        client = Client(system.handle.attach())
        client.ask(encode(Increment(str(number))))
        found.append(decode(client.ask(encode(Get(str(number))))) == 1)
        client.close()

    threads = [threading.Thread(target=use, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [True] * 8
