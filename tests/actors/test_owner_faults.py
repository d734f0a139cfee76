"""Owners that hang, and commands that kill them, in whole systems of real processes."""

import contextlib
import logging
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from actors.client import Client
from actors.errors import CommandCrashedOwner
from actors.exits import Exit
from tests.actors.owners import decode, encode
from tests.actors.systems import ONCE, System, pid_of, running_system, standard_error_in
from tests.actors.troublemaker import Count, Crash
from tests.polling import until

ACTOR = "tests.actors.troublemaker:build"
HANG_S = 1.0


@pytest.fixture
def system(tmp_path: Path) -> Iterator[System]:
    """A system whose owner does what it should not, and may not hang for long."""
    with running_system(ACTOR, str(tmp_path).encode(), hang_s=HANG_S) as system:
        yield system


def test_a_stopped_owner_is_replaced(system: System) -> None:
    """A blocking caller waits for it and sees no error; nothing is lost; it is counted."""
    assert system.ask(Count()) == 1
    first = system.info("owner")
    os.kill(pid_of(first), signal.SIGSTOP)
    assert system.ask(Count()) == 2
    assert system.info("owner").pid != first.pid
    statistics = system.handle.statistics()
    assert (statistics.hangs, statistics.epoch, statistics.crashed_commands) == (1, 2, 0)


def test_an_owner_that_is_stopped_for_a_moment_is_left_alone(system: System) -> None:
    """It is not replaced while it goes on in time."""
    first = system.info("owner")
    for _ in range(5):
        os.kill(pid_of(first), signal.SIGSTOP)
        os.kill(pid_of(first), signal.SIGCONT)
        system.ask(Count())
    assert system.info("owner") == first


@pytest.mark.parametrize("how", ["exit", "segv", "abrt", "loop"])
def test_a_command_that_kills_the_owner_is_answered_and_not_repeated(system: System, how: str) -> None:
    """It ends one owner; its sender gets a typed error, and everybody else is served as before."""
    other = Client(system.handle.attach())
    other.ask(encode(Count()))
    with pytest.raises(CommandCrashedOwner, match="command 1"):
        system.ask(Crash(how))
    assert system.ask(Count()) == 2
    assert decode(other.ask(encode(Count()))) == 3
    statistics = system.handle.statistics()
    assert (statistics.epoch, statistics.crashed_commands) == (2, 1)
    assert statistics.hangs == (how == "loop")
    other.close()


def test_a_command_that_was_under_way_when_the_owner_was_killed_runs_once_more(system: System) -> None:
    """A SIGKILL from outside may be an accident: then its sender sees nothing of it."""
    assert system.ask(Crash("kill", once=True)) == "survived"
    statistics = system.handle.statistics()
    assert (statistics.epoch, statistics.crashed_commands) == (2, 0)


def test_a_command_under_way_at_two_kills_is_answered(system: System) -> None:
    """The second time it is no accident."""
    with pytest.raises(CommandCrashedOwner):
        system.ask(Crash("kill"))
    assert system.ask(Count()) == 1
    statistics = system.handle.statistics()
    assert (statistics.epoch, statistics.crashed_commands) == (3, 1)


@pytest.mark.parametrize("how", ["exit", "kill"])
def test_many_different_poisonous_commands_do_not_stop_the_system(system: System, how: str) -> None:
    """Twice as many as there may be short lives of an owner: each is answered, and the count goes on."""
    for number in range(1, 21):
        with pytest.raises(CommandCrashedOwner):
            system.ask(Crash(how))
        assert system.ask(Count()) == number
    assert system.handle.statistics().crashed_commands == 20


def ends(scratch: Path) -> list[str]:
    """What the actor was told of sessions that ended."""
    path = scratch / "ends"
    return path.read_text().splitlines() if path.exists() else []


def test_the_actor_learns_how_a_worker_ended(system: System, tmp_path: Path) -> None:
    """The reason arrives although the end of the queue is seen first."""
    system.handle.spawn("w", "tests.actors.workers:crash", b"", ONCE)
    assert system.handle.wait("w", 30) == Exit(3, None)
    session = system.info("w").session
    assert until(lambda: ends(tmp_path), "the session has ended") == [f"{session}: exit code 3"]


@pytest.mark.parametrize("owner_first", [False, True])
def test_the_actor_learns_of_a_death_that_its_owner_did_not_live_to_see(
    system: System, tmp_path: Path, owner_first: bool
) -> None:
    """Whether the worker dies before the owner or after it, the next owner tells how."""
    worker, owner = system.spawn("w", "count_once", policy=ONCE), system.info("owner")
    os.kill(pid_of(owner), signal.SIGSTOP)
    victims = [pid_of(worker), pid_of(owner)]
    for pid in reversed(victims) if owner_first else victims:
        os.kill(pid, signal.SIGKILL)
    assert until(lambda: ends(tmp_path), "the session has ended") == [f"{worker.session}: killed by SIGKILL"]


@pytest.fixture
def log(tmp_path: Path) -> Path:
    """Where the processes of a test write their standard error."""
    return tmp_path / "stderr"


@pytest.fixture
def telling(tmp_path: Path, log: Path) -> Iterator[System]:
    """The same, whose processes can be read."""
    with standard_error_in(log):
        system = System(ACTOR, str(tmp_path).encode(), logging.WARNING, HANG_S)
    yield system
    system.close()


def test_the_log_shows_where_the_owner_hung(telling: System, log: Path) -> None:
    """Before it is killed it writes its stacks, although its interpreter is busy; the supervisor says what is up."""
    with pytest.raises(CommandCrashedOwner):
        telling.ask(Crash("loop"))
    said = log.read_text()
    assert "in turn_for_ever" in said
    assert f"owner hung for {HANG_S:g} s; its stacks follow" in said
    assert f"owner: hung for {HANG_S:g} s; starting it again" in said


def test_an_owner_that_goes_on_at_the_last_moment_is_spared(telling: System, log: Path) -> None:
    """The moment for its stacks is also a last chance; if this test lets it go on too late, the next owner has one."""
    owners = []

    def spared() -> bool:
        owners.append(telling.ready("owner"))
        before = len(log.read_text())

        def said(what: str) -> bool:
            return what in log.read_text()[before:]

        os.kill(pid_of(owners[-1]), signal.SIGSTOP)
        until(lambda: said("its stacks follow"), "the hang is noticed")
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid_of(owners[-1]), signal.SIGCONT)
        until(lambda: said("the owner goes on by itself") or said("starting it again"), "it is judged")
        return said("the owner goes on by itself")

    until(spared, "one is spared", 60)
    assert telling.ask(Count()) == 1
    assert telling.info("owner") == owners[-1]
    assert telling.handle.statistics().hangs == len(owners) - 1
