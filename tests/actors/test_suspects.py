import signal

import pytest

from actors.exits import Exit
from actors.processes.suspects import REMEMBERED, Suspects

KILLED = Exit(None, signal.SIGKILL)


@pytest.mark.parametrize(
    ("end", "ours"),
    [(Exit(None, signal.SIGSEGV), False), (Exit(3, None), False), (Exit(0, None), False), (KILLED, True)],
)
def test_a_death_by_its_own_doing_is_blamed_at_once(end: Exit, ours: bool) -> None:
    """A fault, an exit, or a hang that the supervisor ended: the command is not tried again."""
    suspects = Suspects()
    assert suspects.judge((1, 5), end, ours=ours)
    assert suspects.crashed == [(1, 5)]
    assert suspects.blamed == 1


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_kill_from_outside_is_forgiven_once(number: signal.Signals) -> None:
    """An accident is likely then; the second one with the same command is none."""
    suspects = Suspects()
    assert suspects.judge((1, 5), Exit(None, number), ours=False)
    assert suspects.crashed == []
    assert suspects.judge((1, 5), Exit(None, number), ours=False)
    assert suspects.crashed == [(1, 5)]


def test_commands_that_take_turns_are_both_found() -> None:
    """A suspicion outlives the death by another command."""
    suspects = Suspects()
    for command in [(1, 5), (2, 7), (1, 5), (2, 7)]:
        suspects.judge(command, KILLED, ours=False)
    assert sorted(suspects.crashed) == [(1, 5), (2, 7)]


def test_without_a_mark_nobody_is_blamed() -> None:
    """The owner died by itself."""
    suspects = Suspects()
    assert not suspects.judge(None, Exit(None, signal.SIGSEGV), ours=False)
    assert suspects.crashed == []


def test_the_commands_of_an_ended_session_are_forgotten() -> None:
    """Suspected or guilty: they do not come again."""
    suspects = Suspects()
    suspects.judge((1, 5), Exit(3, None), ours=False)
    suspects.judge((1, 6), KILLED, ours=False)
    suspects.judge((2, 5), Exit(3, None), ours=False)
    suspects.forget(1)
    assert suspects.crashed == [(2, 5)]
    suspects.judge((1, 6), KILLED, ours=False)
    assert suspects.crashed == [(2, 5)]


def test_no_session_makes_the_list_grow_for_ever() -> None:
    """Of each session no more is kept than it may have unanswered, and that is the latest."""
    suspects = Suspects()
    for number in range(1, 3 * REMEMBERED):
        suspects.judge((1, number), Exit(3, None), ours=False)
        suspects.judge((1, number), KILLED, ours=False)
    assert suspects.crashed == [(1, number) for number in range(2 * REMEMBERED, 3 * REMEMBERED)]
    assert len(suspects._suspected[1]) == REMEMBERED
