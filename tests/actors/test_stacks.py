"""A stuck process is asked for its stacks."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from actors.errors import SupervisorError, SystemStopped
from actors.processes.control import Start
from actors.processes.process import Process
from tests.actors.systems import ONCE, System, standard_error_in
from tests.polling import until
from tests.processes import ROOT, running


@pytest.fixture
def log(tmp_path: Path) -> Path:
    """Where the processes of a test write their standard error."""
    return tmp_path / "stderr"


@pytest.fixture
def system(log: Path) -> Iterator[System]:
    """A system that runs for one test."""
    with standard_error_in(log):
        system = System()
    yield system
    system.close()


def test_a_computing_worker_shows_where_it_is(system: System, log: Path) -> None:
    """The name of the function that never ends stands in its log, and it goes on."""
    worker = system.spawn("w", "turn_without_end")

    def shown() -> bool:
        system.handle.dump_stacks("w")  # again: it may have been on its way there
        return "in compute_without_end" in log.read_text()

    until(shown, "the stacks are written")
    assert system.info("w") == worker


def test_all_threads_are_shown(system: System, log: Path) -> None:
    """Also the one that a process has for its supervisor's sake."""
    system.spawn("w", "hold")

    def shown() -> bool:
        system.handle.dump_stacks("w")
        return "in hold" in log.read_text() and "in _watch" in log.read_text()

    until(shown, "both stacks are written")


@pytest.mark.parametrize(("name", "function"), [("owner", "in run"), ("supervisor", "in turn")])
def test_owner_and_supervisor_can_be_asked(system: System, log: Path, name: str, function: str) -> None:
    """They write their stacks and go on."""
    before = system.pids()
    system.handle.dump_stacks(name)
    until(lambda: function in log.read_text(), "the stacks are written")
    assert system.pids() == before


def test_a_stopped_supervisor_is_asked_without_its_help(system: System, log: Path) -> None:
    """The signal waits for it, although it answers nothing."""
    os.kill(system.handle.pid, signal.SIGSTOP)
    system.handle.dump_stacks("supervisor")
    os.kill(system.handle.pid, signal.SIGCONT)
    until(lambda: "in turn" in log.read_text(), "the stacks are written")


def test_who_does_not_run_cannot_be_asked(system: System) -> None:
    """An unknown name and an ended process are refused, and so is everything after the end."""
    system.handle.spawn("ends", "tests.actors.workers:end_well", b"", ONCE)
    system.handle.wait("ends", 30)
    for name in ("ends", "absent"):
        with pytest.raises(SupervisorError, match=f"no process of the name '{name}' runs"):
            system.handle.dump_stacks(name)
    system.handle.stop(0.5)
    for name in ("owner", "supervisor"):
        with pytest.raises(SystemStopped):
            system.handle.dump_stacks(name)


def test_a_request_at_the_very_start_ends_nothing(log: Path) -> None:
    """Before a process can answer the signal, the signal waits."""
    with standard_error_in(log):
        process: Process[object] = Process(Start("w", "tests.actors.workers:turn_without_end", 0), b"", [], object)
    process.kill(signal.SIGUSR1)
    until(lambda: "most recent call first" in log.read_text(), "the stacks are written")
    process.kill(signal.SIGKILL)
    assert process.reap().signal == signal.SIGKILL
    assert not running([process.pid])


def test_a_process_without_standard_error_ignores_the_request() -> None:
    """Descriptor 2 may be anything then."""
    program = (
        "import os, signal, sys; sys.__stderr__ = None;"
        "from actors.processes.stacks import write_stacks_on_request; write_stacks_on_request();"
        "os.kill(os.getpid(), signal.SIGUSR1); print('alive')"
    )
    ran = subprocess.run([sys.executable, "-c", program], cwd=ROOT, check=True, capture_output=True, text=True)
    assert (ran.stdout, ran.stderr) == ("alive\n", "")
