"""How long until the next probe."""

from collections import Counter

import pytest

from registry.kinds import BackendStatus
from registry.state.health.pace import Pace
from registry.state.rules import HealthRules
from tests.registry.state.health.wards import HEALTHY, UNHEALTHY, Ward, unchecked


def test_dead_ones_are_left_alone_for_ever_longer() -> None:
    """1, 2, 4 ... seconds up to twice the interval, each a tenth more or less."""
    ward = Ward(unchecked("a"))
    waits = [ward.probe(UNHEALTHY) for _ in range(10)]
    for wait_s, expected in zip(waits, (0, 1, 2, 4, 8, 16, 32, 60, 60, 60), strict=True):
        assert wait_s == pytest.approx(expected, rel=0.1, abs=0.01)


def test_one_that_recovers_and_dies_again_is_looked_at_soon() -> None:
    """Health makes the waits short again."""
    ward = Ward(unchecked("a"))
    for _ in range(8):
        ward.probe(UNHEALTHY)
    ward.probe(HEALTHY)
    assert ward.probe(HEALTHY) == pytest.approx(1, abs=0.01)
    ward.probe(UNHEALTHY)
    waits = [ward.probe(UNHEALTHY) for _ in range(4)]
    assert waits == [pytest.approx(expected, rel=0.1, abs=0.01) for expected in (1, 1, 1, 2)]


@pytest.mark.parametrize(
    ("status", "longest_s"),
    [
        (BackendStatus.WARMING, 5),
        (BackendStatus.RATE_LIMITED, 30),
        (BackendStatus.MISCONFIGURED, 30),
        (BackendStatus.UNHEALTHY, 60),
    ],
)
def test_longest_wait_depends_on_what_is_wrong(status: BackendStatus, longest_s: float) -> None:
    """What may end at any moment is looked at oftener than what is dead."""
    ward = Ward(unchecked("a"))
    waits = [ward.probe(status) for _ in range(9)]
    assert waits[-1] == pytest.approx(longest_s, rel=0.1, abs=0.01)


def test_retry_after_is_heeded() -> None:
    """One that says for how long it wants to be left alone is left alone for so long."""
    ward = Ward(unchecked("a"))
    ward.probe(BackendStatus.RATE_LIMITED, retry_after_s=400.0)
    assert ward.probe() == pytest.approx(400, abs=0.01)


def test_retry_after_of_a_healthy_one_is_heeded() -> None:
    """Also before its status has changed, and it makes no wait shorter."""
    ward = Ward(unchecked("a"))
    ward.probe(HEALTHY)
    ward.probe(BackendStatus.RATE_LIMITED, retry_after_s=7.0)
    assert ward.probe(BackendStatus.RATE_LIMITED, retry_after_s=0.0) == pytest.approx(7, abs=0.01)
    assert ward.probe() == pytest.approx(1, abs=0.01)


def test_healthy_one_is_looked_at_whatever_it_wants() -> None:
    """As long as it is given requests it is probed each interval, so that it is soon known to be limited."""
    ward = Ward(unchecked("a"))
    ward.probe(HEALTHY)
    waits = [ward.probe(BackendStatus.RATE_LIMITED, retry_after_s=86_400.0) for _ in range(3)]
    assert waits[1:] == [pytest.approx(30, abs=0.01)] * 2
    assert ward.status() is BackendStatus.RATE_LIMITED
    assert ward.probe() == pytest.approx(86_400, abs=0.01)


def test_a_doubt_is_cleared_within_seconds() -> None:
    """Between two findings that may change a status there is a second, or an interval if that is shorter."""
    for interval_s, expected in ((30.0, 1.0), (0.5, 0.5)):
        ward = Ward(unchecked("a"), rules=HealthRules(interval_s=interval_s))
        ward.probe(HEALTHY)
        ward.probe(UNHEALTHY)
        assert ward.probe(UNHEALTHY) == pytest.approx(expected, abs=0.01)
        ward.probe(UNHEALTHY)
        ward.probe(HEALTHY)
        assert ward.probe(HEALTHY) == pytest.approx(expected, abs=0.01)
        assert ward.status() is HEALTHY


def test_the_regular_wait_is_the_interval() -> None:
    """A tenth more or less, and not always the same."""
    ward = Ward(unchecked("a"))
    ward.probe()
    first = ward.probe()
    assert 0.99 <= first <= 30.01
    waits = [ward.probe() for _ in range(50)]
    assert all(26.99 <= wait_s <= 33.01 for wait_s in waits)
    assert max(waits) - min(waits) > 3


def test_jitter_never_repeats_for_all_of_them() -> None:
    """Different targets get different waits, the same target always the same one for the same turn."""
    pace = Pace(HealthRules())
    waits = [pace.steady(f"b{number}", 1, in_step=True) for number in range(100)]
    assert len(set(waits)) > 90
    assert waits == [Pace(HealthRules()).steady(f"b{number}", 1, in_step=True) for number in range(100)]


def tenths(ward: Ward, intervals: int) -> list[Counter[int]]:
    """How many probes there are in each tenth of each interval, if each finds its target healthy at once."""
    counts = []
    for _ in range(intervals):
        count: Counter[int] = Counter()
        for step in range(100):
            ward.clock.advance(0.3)
            while orders := ward.take():
                count[step // 10] += len(orders)
                for order in orders:
                    ward.report(order)
        counts.append(count)
    return counts


def test_a_thousand_are_spread_over_the_interval() -> None:
    """However they came, no tenth of an interval has more than a fifth of the probes once they are in step."""
    ward = Ward(*(unchecked(f"b{number}") for number in range(500)))
    for number in range(500):
        ward.register(f"s{number}")
    tenths(ward, 3)
    for count in tenths(ward, 4):
        assert sum(count.values()) == pytest.approx(1_000, rel=0.1)
        assert max(count.values()) < 200


def test_those_that_fail_together_do_not_stay_together() -> None:
    """After a common failure and recovery they are spread again."""
    ward = Ward(*(unchecked(f"b{number}") for number in range(300)))
    for status in [HEALTHY] * 2 + [UNHEALTHY] * 3 + [HEALTHY] * 2:
        for _ in range(300):
            ward.clock.advance(0.3)
            for order in ward.take():
                ward.report(order, status)
    tenths(ward, 1)
    for count in tenths(ward, 2):
        assert max(count.values()) < 60
