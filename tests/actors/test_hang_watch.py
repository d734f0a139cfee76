from collections.abc import Iterator

import pytest

from actors.clock import ManualClock
from actors.processes.hang_watch import LOOKS, HangWatch
from actors.processes.reactor import Reactor
from actors.pulse import Pulse


class Watched:
    """A watch with a hand on its clock."""

    def __init__(self) -> None:
        self.clock = ManualClock()
        self.reactor = Reactor(self.clock)
        self.pulse = Pulse.create()
        self.said: list[str] = []
        still, hung = (lambda: self.said.append("stands still")), (lambda: self.said.append("hung"))
        self.watch = HangWatch(self.pulse, 10.0, self.reactor, still, hung)
        self.watch.start()

    def pass_time(self, seconds: float) -> None:
        """Time goes by, and the reactor turns once."""
        self.clock.advance(seconds)
        self.reactor.after(0.0, lambda: None)
        self.reactor.turn()

    def close(self) -> None:
        self.reactor.close()
        self.pulse.close()


@pytest.fixture
def watched() -> Iterator[Watched]:
    """An owner that has just become ready."""
    watched = Watched()
    yield watched
    watched.close()


def test_a_pulse_that_stands_still_is_noticed_once(watched: Watched) -> None:
    """After the last of the looks, not before, and it is said once."""
    for _ in range(LOOKS - 1):
        watched.pass_time(1.0)
    assert not watched.said
    watched.pass_time(1.0)
    assert watched.said == ["stands still"]
    for _ in range(3 * LOOKS):
        watched.pass_time(1.0)
    assert watched.said == ["stands still", "hung"]


def test_a_pulse_that_goes_on_at_the_last_moment_has_the_whole_time_again(watched: Watched) -> None:
    """What stood still was slow, not hung."""
    for _ in range(LOOKS):
        watched.pass_time(1.0)
    assert watched.said == ["stands still"]
    watched.pulse.beat()
    for _ in range(LOOKS):
        watched.pass_time(1.0)
    assert watched.said == ["stands still"]
    watched.pass_time(1.0)
    assert watched.said == ["stands still", "stands still"]


def test_one_beat_is_enough_to_begin_anew(watched: Watched) -> None:
    """A slow owner is not a hung one."""
    for _ in range(5):
        for _ in range(LOOKS - 1):
            watched.pass_time(1.0)
        watched.pulse.beat()
    assert not watched.said


def test_time_in_which_nobody_looked_counts_as_one_look(watched: Watched) -> None:
    """A machine that was suspended, or a frozen system, kills no owner when it goes on."""
    for _ in range(LOOKS - 2):
        watched.pass_time(1.0)
    watched.pass_time(100_000.0)
    assert not watched.said


def test_a_watch_that_was_stopped_says_nothing(watched: Watched) -> None:
    """Between two lives nothing beats; the next one has the whole time again."""
    for _ in range(LOOKS - 1):
        watched.pass_time(1.0)
    watched.watch.stop()
    watched.pass_time(100.0)
    watched.watch.start()
    for _ in range(LOOKS - 1):
        watched.pass_time(1.0)
    assert not watched.said


def test_an_owner_that_ended_at_the_last_moment_did_not_hang(watched: Watched) -> None:
    """Its end stops the watch between the two calls."""
    for _ in range(LOOKS):
        watched.pass_time(1.0)
    watched.watch.stop()
    watched.pass_time(10.0)
    assert watched.said == ["stands still"]


def test_an_owner_that_has_worked_and_then_hangs_is_noticed(watched: Watched) -> None:
    """What counts is the time since its latest beat."""
    for _ in range(5):
        watched.pulse.beat()
        watched.pass_time(1.0)
    for _ in range(LOOKS - 1):
        watched.pass_time(1.0)
    assert not watched.said
    watched.pass_time(1.0)
    assert watched.said == ["stands still"]


def test_a_watch_that_is_started_twice_looks_once(watched: Watched) -> None:
    """Another life takes the place of the one before."""
    watched.watch.start()
    for _ in range(LOOKS - 1):
        watched.pass_time(1.0)
    assert not watched.said
