import random

import pytest

from actors.exits import Exit
from actors.processes.restarts import HEALTHY_S, Restart, RestartHistory, RestartPolicy

CLEAN, FAILED, KILLED = Exit(0, None), Exit(1, None), Exit(None, 9)


@pytest.mark.parametrize(
    ("restart", "wanted"),
    [(Restart.PERMANENT, [True] * 3), (Restart.TRANSIENT, [False, True, True]), (Restart.TEMPORARY, [False] * 3)],
)
def test_the_policy_says_which_ends_are_followed_by_a_restart(restart: Restart, wanted: list[bool]) -> None:
    """As in OTP: all, all but clean ones, or none."""
    history = RestartHistory(RestartPolicy(restart), random.Random(1))
    assert [history.wanted(end) for end in (CLEAN, FAILED, KILLED)] == wanted


def test_the_wait_doubles_up_to_its_limit_with_jitter() -> None:
    """The first restart is immediate; each later one waits 1 to 1.5 times its step."""
    policy = RestartPolicy(intensity=100, first_delay_s=0.1, longest_delay_s=1.0)
    history = RestartHistory(policy, random.Random(7))
    delays = [history.next_delay(float(n), 0.1) for n in range(8)]
    assert delays[0] == 0.0
    for delay, step in zip(delays[1:], [0.1, 0.2, 0.4, 0.8, 1.0, 1.0, 1.0], strict=True):
        assert delay is not None
        assert step <= delay <= 1.5 * step
    assert len(set(delays)) == 8
    again = RestartHistory(policy, random.Random(7))
    assert [again.next_delay(float(n), 0.1) for n in range(8)] == delays


def test_short_lives_count_only_within_the_window() -> None:
    """One more than the intensity within the window is too many; spread out they are borne for ever."""
    policy = RestartPolicy(intensity=2, window_s=10.0)
    history = RestartHistory(policy, random.Random(1))
    assert all(history.next_delay(now, 0.0) is not None for now in (0.0, 6.0, 12.0, 18.0, 24.0))
    assert history.next_delay(25.0, 0.0) is None


def test_a_long_life_neither_counts_nor_waits() -> None:
    """A process that worked for a while is started again at once, and the doubling begins anew."""
    history = RestartHistory(RestartPolicy(intensity=2), random.Random(1))
    assert history.next_delay(0.0, 0.0) == 0.0
    assert history.next_delay(0.1, 0.0) != 0.0
    assert all(history.next_delay(1.0, HEALTHY_S + 0.1) == 0.0 for _ in range(100))
    assert history.restarts == 102
    assert history.next_delay(2.0, None) is None
