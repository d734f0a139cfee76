"""Whole systems of real processes, as a user's program starts them."""

import contextlib
import errno
import logging
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec
import psutil
import pytest

from actors.client import Client
from actors.errors import CallTimeout, StartFailed, SupervisorError, SystemStopped
from actors.exits import Exit
from actors.handle import Handle, Settings
from actors.processes.children import ChildSpec, OwnerSpec
from actors.processes.functions import pack
from actors.processes.machine import measured
from actors.processes.owner_keeper import OwnerKeeper
from actors.processes.process import Process
from actors.processes.restarts import Restart, RestartPolicy
from actors.supervisor import Supervisor
from tests.actors.counter import Get, Held, Increment
from tests.actors.owners import decode, encode
from tests.actors.systems import OFTEN, ONCE, System, pid_of
from tests.actors.workers import write_file
from tests.polling import until
from tests.processes import Program, running


@pytest.fixture
def system() -> Iterator[System]:
    """A system that runs for one test."""
    system = System()
    yield system
    system.close()


def test_a_killed_worker_gives_back_what_it_held_and_comes_back(system: System) -> None:
    """Its session ends; its next life is a new session."""
    first = system.spawn("w", "hold")
    assert system.ask(Held()) == 1
    os.kill(pid_of(first), signal.SIGKILL)
    second = system.ready("w", 1)
    assert second.pid != first.pid
    assert second.session > first.session
    assert system.ask(Held()) == 1


def test_a_request_that_makes_no_sense_is_refused(system: System) -> None:
    """Who made it is told so, and the system goes on."""
    wrong: Any = 5
    for _ in range(2):
        with pytest.raises(SupervisorError, match="does not understand the request: Expected `str`"):
            system.handle.spawn(wrong, "tests.actors.workers:hold", b"", OFTEN)
    assert system.ask(Increment("a")) == 1


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


def test_workers_are_told_to_end_in_reverse_order_and_the_owner_serves_until_all_have_ended(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """What a worker asks for in its last moments is answered; all of them have one budget together."""
    path = tmp_path / "farewells"
    told: list[tuple[str, signal.Signals]] = []
    kill = Process.kill

    def noted(process: Process[Any], number: signal.Signals) -> None:
        told.append((process.name, number))
        kill(process, number)

    monkeypatch.setattr(Process, "kill", noted)

    def run() -> None:
        supervisor = Supervisor(OwnerSpec("tests.actors.counter:build"))
        for name in ("a", "b", "c"):
            supervisor.add(ChildSpec(name, "tests.actors.workers:write_when_told_to_end", str(path).encode()))
        supervisor.add(ChildSpec("deaf", "tests.actors.workers:hold_stubbornly"))
        supervisor.on_ready = lambda: supervisor.stop("the test", 1.0)
        supervisor.start()
        supervisor.run()

    thread = threading.Thread(target=run)
    thread.start()
    thread.join(30)
    assert sorted(path.read_text().split()) == ["a", "b", "c"]
    assert told[:4] == [(name, signal.SIGTERM) for name in ("deaf", "c", "b", "a")]
    assert told[4:] == [("deaf", signal.SIGKILL)]


def test_an_owner_that_cannot_be_handed_the_sessions_has_failed_to_start(monkeypatch: pytest.MonkeyPatch) -> None:
    """Too few descriptors at that moment are a reason like any other, and its process is not left."""
    begin = OwnerKeeper.begin
    pids: list[int] = []

    def fail(keeper: OwnerKeeper, process: Process[Any]) -> None:
        begin(keeper, process)
        pids.append(process.pid)
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    monkeypatch.setattr(OwnerKeeper, "begin", fail)
    supervisor = Supervisor(OwnerSpec("tests.actors.counter:build"))
    supervisor.start()
    with pytest.raises(StartFailed, match="cannot be started: Too many open files"):
        supervisor.run()
    assert not running(pids)


def test_a_worker_that_is_never_ready_has_failed_to_start(system: System) -> None:
    """After its time it is killed; the reason is told like any other failed start."""
    policy = RestartPolicy(intensity=0)
    system.handle.spawn("w", "tests.actors.workers:never_ready", b"", policy, 1.0)
    until(lambda: system.handle.exit is not None, "the system has stopped", 30)
    with pytest.raises(SystemStopped, match=r"w: it was not ready within 1 s; it failed to start too often"):
        system.handle.processes()


def test_an_owner_that_is_never_ready_has_failed_to_start() -> None:
    """Who starts the system is told."""
    settings = Settings("tests.actors.test_handle:never_built", b"", 5.0, logging.CRITICAL, ready_within_s=1.0)
    with pytest.raises(StartFailed, match="it was not ready within 1 s"):
        Handle(settings)


def never_built(options: bytes) -> Any:
    """An actor that takes for ever to make."""
    del options
    signal.pause()


def test_a_worker_that_was_ready_in_time_is_left_alone(system: System) -> None:
    """The limit is for the start only."""
    system.handle.spawn("w", "tests.actors.workers:hold", b"", OFTEN, 1.0)
    worker = system.ready("w")
    later = time.monotonic() + 1.5
    until(lambda: time.monotonic() > later, "the time to start is over")
    assert system.info("w") == worker


@pytest.mark.parametrize("seconds", [0.5, 0.0, -1.0, 100_000.0, float("nan"), float("inf")])
def test_times_out_of_their_limits_are_refused(system: System, seconds: float) -> None:
    """With the name of the setting and its limits, before anything is started."""
    before = system.handle.processes()
    with pytest.raises(SupervisorError, match=r"ready_within_s must be between 1 and 86400 seconds"):
        system.handle.spawn("w", "tests.actors.workers:hold", b"", OFTEN, seconds)
    assert system.handle.processes() == before
    with pytest.raises(SupervisorError, match=r"hang_s must be between 1 and 86400 seconds"):
        OwnerSpec("an:actor", hang_s=seconds)


def test_statistics_name_all_processes_with_the_machines_figures(system: System) -> None:
    """The supervisor itself first, then the owner, then the workers; sessions are told apart by who has them."""
    worker = system.spawn("w", "hold")
    statistics = system.handle.statistics()
    assert [process.name for process in statistics.processes] == ["supervisor", "owner", "w"]
    assert [process.pid for process in statistics.processes] == system.pids()
    for process in statistics.processes:
        assert process.state in {"running", "sleeping"}
        assert process.rss_bytes > 1_000_000
        assert process.cpu_s > 0
        assert process.threads >= 1
        assert process.descriptors > 3
        assert process.ready
    assert statistics.processes[2].session == worker.session
    assert (statistics.sessions, statistics.attached, statistics.epoch, statistics.hangs) == (2, 1, 1, 0)
    assert statistics.log_memory_bytes > 0
    assert statistics.uptime_s > 0
    with pytest.raises(AttributeError):
        statistics.epoch = 2  # type: ignore[misc]  # the point


def test_statistics_of_what_is_stopped_or_does_not_run(system: System) -> None:
    """A stopped process is called so; one that has ended has no figures, and another program's are not taken for it."""
    worker = system.spawn("w", "hold")
    os.kill(pid_of(worker), signal.SIGSTOP)
    system.handle.spawn("ends", "tests.actors.workers:end_well", b"", ONCE)
    assert system.handle.wait("ends", 30) == Exit(0, None)
    until(lambda: system.handle.statistics().processes[2].state == "stopped", "it is stopped")
    ended = system.handle.statistics().processes[3]
    assert (ended.name, ended.pid, ended.state, ended.rss_bytes) == ("ends", None, None, 0)
    counted = system.handle._counts()
    foreign = msgspec.structs.replace(counted.processes[1], pid=os.getpid())
    changed = msgspec.structs.replace(counted, processes=(counted.processes[0], foreign))
    assert measured(changed).processes[1] == foreign


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


def test_an_interrupt_just_after_a_question_costs_only_its_answer(
    system: System, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ctrl-C once the supervisor was asked: the next question is answered, and the system can be stopped."""
    control = system.handle._process.control
    send = control.send

    def sent_and_interrupted(message: msgspec.Struct, fds: Sequence[int] = ()) -> None:
        send(message, fds)
        raise KeyboardInterrupt

    with monkeypatch.context() as interrupted:
        interrupted.setattr(control, "send", sent_and_interrupted)
        with pytest.raises(KeyboardInterrupt):
            system.handle.processes()
    assert [info.name for info in system.handle.processes()] == ["owner"]
    system.handle.stop(5)
    assert system.handle.exit is not None


def interrupted(system: System, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ask for a session, and do not wait for it because of Ctrl-C."""
    del monkeypatch
    main = threading.get_ident()

    def interrupt() -> None:
        until(lambda: system.handle._waiting, "it waits")
        signal.pthread_kill(main, signal.SIGINT)

    thread = threading.Thread(target=interrupt)
    thread.start()
    with pytest.raises(KeyboardInterrupt):
        system.handle.attach()
    thread.join()


def tired_of_waiting(system: System, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ask for a session, and do not wait for it any longer."""
    with monkeypatch.context() as impatient:
        impatient.setattr("actors.handle.START_TIMEOUT_S", 0.01)
        with pytest.raises(CallTimeout):
            system.handle.attach()


@pytest.mark.parametrize("ask_in_vain", [interrupted, tired_of_waiting])
def test_a_session_that_nobody_waits_for_any_more_ends(
    system: System, monkeypatch: pytest.MonkeyPatch, ask_in_vain: Callable[..., None]
) -> None:
    """The supervisor gives it when it goes on; its end of the queue is closed as it comes."""
    os.kill(system.handle.pid, signal.SIGSTOP)
    ask_in_vain(system, monkeypatch)
    os.kill(system.handle.pid, signal.SIGCONT)
    until(lambda: system.handle.statistics().sessions == 1, "the test's own session is the only one")


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
from actors.processes.restarts import RestartPolicy
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
