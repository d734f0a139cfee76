"""Nothing outlives the supervisor, whatever state it is in."""

import os
import signal
import threading
import time
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.actors.owners import encode
from tests.actors.systems import OFTEN, System, pid_of, running_system
from tests.actors.troublemaker import Count, Crash
from tests.polling import until
from tests.processes import running

ACTOR = "tests.actors.troublemaker:build"


def kill_supervisor(system: System) -> None:
    """SIGKILL it, and wait until no process is left: 2 s are promised, a busy test machine is given more."""
    pids = system.pids()
    assert len(pids) > 1
    os.kill(system.handle.pid, signal.SIGKILL)
    until(lambda: not running(pids), "nothing is left", 6.0)


def stop(pid: int) -> None:
    """Stop a process, and wait until it is."""
    os.kill(pid, signal.SIGSTOP)
    until(lambda: psutil.Process(pid).status() == psutil.STATUS_STOPPED, "it is stopped")


def test_a_stopped_owner_wakes_up_and_closes_its_journal(tmp_path: Path) -> None:
    """The kernel lets it go on when the supervisor dies; it sees the end of its line and leaves properly."""
    with running_system(ACTOR, str(tmp_path).encode()) as system:
        stop(pid_of(system.info("owner")))
        kill_supervisor(system)
    assert (tmp_path / "closed").exists()


def test_an_owner_in_an_endless_loop_is_ended_by_a_thread_of_its_own(tmp_path: Path) -> None:
    """Its loop does not see that the supervisor is gone."""
    with running_system(ACTOR, str(tmp_path).encode()) as system:
        system.ask(Count())
        system.client.tell(encode(Crash("loop")))
        until((tmp_path / "done-loop").exists, "the owner computes")
        kill_supervisor(system)
    assert not (tmp_path / "closed").exists()


@pytest.mark.parametrize("function", ["hold", "hold_without_threads", "turn_without_end", "never_ready"])
@pytest.mark.parametrize("stopped", [False, True])
def test_a_worker_ends_whatever_it_does(function: str, stopped: bool) -> None:
    """Stopped, computing, deaf to signals, or not ready yet."""
    with running_system() as system:
        system.handle.spawn("w", f"tests.actors.workers:{function}", b"", OFTEN)
        worker = pid_of(system.ready("w") if function != "never_ready" else until(lambda: system.info("w"), "it runs"))
        if stopped:
            stop(worker)
        kill_supervisor(system)


def test_everything_ends_within_two_seconds(tmp_path: Path) -> None:
    """A stopped owner, a stopped worker and a computing one together: the median of five trials keeps the promise."""
    took: list[float] = []
    for _ in range(5):
        with running_system(ACTOR, str(tmp_path).encode()) as system:
            for name in ("a", "b"):
                system.handle.spawn(name, "tests.actors.workers:turn_without_end", b"", OFTEN)
            for name in ("a", "b"):
                system.ready(name)
            stop(pid_of(system.info("owner")))
            stop(pid_of(system.info("a")))
            began = time.monotonic()
            kill_supervisor(system)
            took.append(time.monotonic() - began)
    assert sorted(took)[2] <= 2.0


def test_the_supervisor_does_not_end_with_the_thread_that_started_it(tmp_path: Path) -> None:
    """A user's program may start a system in any thread; the kernel would take that thread's end for the program's."""
    started: list[System] = []

    def start() -> None:
        started.append(System(ACTOR, str(tmp_path).encode()))

    thread = threading.Thread(target=start)
    thread.start()
    thread.join()
    (system,) = started
    answers: list[Any] = [system.ask(Count()) for _ in range(3)]
    assert answers == [1, 2, 3]
    assert running(system.pids()) == system.pids()
    system.close()
