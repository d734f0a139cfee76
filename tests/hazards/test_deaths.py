"""What the owner learns of the deaths of others."""

import os
import signal
from collections.abc import Iterator

import msgspec
import pytest

from actors.client import Client
from actors.exits import Exit
from tests.actors.systems import ONCE, System, pid_of, running_system
from tests.hazards.witness import Ends
from tests.polling import until


@pytest.fixture
def witnessed() -> Iterator[System]:
    """A system whose actor notes how sessions end."""
    with running_system("tests.hazards.witness:build") as system:
        yield system


def endings(system: System) -> dict[int, Exit | None]:
    """How each session has ended."""
    return {int(session): exit and Exit(**exit) for session, exit in system.ask(Ends()).items()}


@pytest.mark.parametrize(
    ("target", "number", "exit"),
    [
        ("tests.actors.workers:hold", signal.SIGKILL, Exit(None, signal.SIGKILL)),
        ("tests.actors.workers:hold", signal.SIGTERM, Exit(None, signal.SIGTERM)),
        ("tests.actors.workers:crash", None, Exit(3, None)),
        ("tests.actors.workers:end_well", None, Exit(0, None)),
    ],
)
def test_hazard_21_monitor_is_told_the_reason(
    witnessed: System, target: str, number: signal.Signals | None, exit: Exit
) -> None:
    """The actor hears of each death once, with the exit code or the signal."""
    witnessed.handle.spawn("w", target, b"", ONCE)
    if number is not None:
        os.kill(pid_of(witnessed.ready("w")), number)
    assert witnessed.handle.wait("w", 30) == exit
    session = witnessed.info("w").session
    until(lambda: session in endings(witnessed), "the end of the session")
    assert endings(witnessed) == {session: exit}


def test_hazard_21_monitor_that_dies_too(witnessed: System) -> None:
    """Of a worker that dies with the owner, the next owner is told, once and with the reason."""
    for turn in range(1, 5):
        witnessed.handle.spawn("w", "tests.actors.workers:hold", b"", ONCE)
        worker, owner = witnessed.ready("w"), witnessed.info("owner")
        for process in (worker, owner) if turn % 2 else (owner, worker):
            os.kill(pid_of(process), signal.SIGKILL)
        witnessed.ready("owner", turn)
        assert witnessed.handle.wait("w", 30) == Exit(None, signal.SIGKILL)
        until(lambda: len(endings(witnessed)) == turn, "the end of the session")  # noqa: B023 - asked at once
        assert endings(witnessed)[worker.session] == Exit(None, signal.SIGKILL)


def test_hazard_21_farewell_is_no_death(witnessed: System) -> None:
    """A process that leaves by itself is told apart from one that died."""
    client = Client(witnessed.handle.attach())
    client.ask(msgspec.msgpack.encode(Ends()))
    session = client.session.number
    client.close()
    until(lambda: session in endings(witnessed), "the end of the session")
    assert endings(witnessed) == {session: None}
