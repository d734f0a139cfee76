"""What findings and requests do to a backend."""

from __future__ import annotations

import pytest

from registry import commands as c
from registry.errors import CommandInvalid
from registry.kinds import BackendStatus, Connection, Outcome
from registry.state.health.verdicts import FINDINGS, TROUBLES
from registry.state.records import ModelRecord
from registry.state.rules import HealthRules
from tests.registry.state.driver import backend
from tests.registry.state.health.wards import DRAINING, HEALTHY, UNHEALTHY, UNKNOWN, Ward, names, unchecked

BAD = sorted(FINDINGS - {HEALTHY})


def served(ward: Ward, probes: int = 1) -> Ward:
    """The same with a health checker that has found everything healthy."""
    for _ in range(probes):
        for order in ward.take():
            ward.report(order)
    return ward


# -- findings ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("found", BAD)
def test_a_healthy_backend_becomes_what_its_third_failure_is(found: BackendStatus) -> None:
    """Till then it is healthy and has no error."""
    ward = served(Ward(unchecked("a")))
    seen = []
    for _ in range(3):
        ward.probe(found, error="why")
        seen.append((ward.status(), ward.record().last_error))
    assert seen == [(HEALTHY, None), (HEALTHY, None), (found, "why")]


def test_findings_of_one_status_are_no_durable_change() -> None:
    """Only a change of status, or of a reason by more than its numbers, is one; the time of the check is always new."""
    ward = served(Ward(unchecked("a")))
    revisions, checked = [], []
    for status, error in (
        (HEALTHY, None),
        *[(UNHEALTHY, "no answer in 5.01 s")] * 3,
        (UNHEALTHY, "no answer in 5.02 s"),
        (UNHEALTHY, "refused"),
        (HEALTHY, None),
        (HEALTHY, None),
        (HEALTHY, None),
    ):
        before = ward.revision
        ward.probe(status, error=error)
        revisions.append(ward.revision - before)
        state = ward.actor.backends.state("a")
        assert state is not None
        checked.append(state.record.last_health_check_s == ward.clock.wall())
    assert revisions == [0, 0, 0, 1, 0, 1, 0, 1, 0]
    assert all(checked)


def test_the_reason_stays_until_it_recovers() -> None:
    """A first success of an unhealthy backend changes nothing that is seen."""
    ward = served(Ward(unchecked("a")))
    for _ in range(3):
        ward.probe(UNHEALTHY, error="refused")
    ward.probe(HEALTHY)
    assert (ward.status(), ward.record().last_error) == (UNHEALTHY, "refused")
    ward.probe(HEALTHY)
    assert (ward.status(), ward.record().last_error) == (HEALTHY, None)


def test_models_are_learned() -> None:
    """What a probe finds replaces what was known; in another order, or named twice, it is the same."""
    ward = Ward(unchecked("a"))
    one, two = ModelRecord("one", "one"), ModelRecord("two", "two", context_length=8192)
    ward.probe(HEALTHY, models=(one, ModelRecord("two", context_length=8192), one))
    assert ward.record().models == (one, two)
    before = ward.revision
    for models in ((two, one), (one, one, two), None):
        ward.probe(HEALTHY, models=models)
    assert (ward.record().models, ward.revision) == ((one, two), before)
    ward.probe(HEALTHY, models=())
    assert (ward.record().models, ward.revision) == ((), before + 1)


def test_status_and_models_change_together() -> None:
    """A finding is one change in the history."""
    ward = Ward(unchecked("a"))
    before = ward.revision
    ward.probe(HEALTHY, models=(ModelRecord("new"),))
    assert (ward.status(), ward.revision) == (HEALTHY, before + 1)


def test_latency_of_a_probe_is_not_that_of_a_request() -> None:
    """The average is one of requests."""
    ward = Ward(unchecked("a"))
    ward.probe(HEALTHY, latency_ms=3)
    state = ward.actor.backends.state("a")
    assert state is not None
    assert state.avg_latency_ms == 0


@pytest.mark.parametrize("found", sorted(FINDINGS))
def test_one_that_drains_goes_on_draining(found: BackendStatus) -> None:
    """It is probed, which shows, and nothing else changes."""
    ward = served(Ward(unchecked("a")))
    ward.do(c.DrainBackend("a"))
    before = ward.record()
    for _ in range(4):
        ward.probe(found, error="why")
    assert ward.record() == before
    state = ward.actor.backends.state("a")
    assert state is not None
    assert state.record.last_health_check_s == ward.clock.wall()


@pytest.mark.parametrize("status", sorted(set(BackendStatus) - FINDINGS))
def test_what_no_probe_can_find_is_refused(status: BackendStatus) -> None:
    """The order stands, and can still be reported."""
    ward = Ward(unchecked("a"))
    (order,) = ward.take()
    with pytest.raises(CommandInvalid):
        ward.report(order, status)
    ward.report(order, HEALTHY)
    assert ward.status() is HEALTHY


# -- what others do ------------------------------------------------------------------------------------------------


def test_a_new_backend_is_probed_at_once() -> None:
    """Also while the checker waits, and before those that have waited for longer."""
    ward = served(Ward(*(unchecked(f"b{number}") for number in range(5))))
    call = ward.ask()
    ward.do(c.AddBackend(unchecked("new")))
    orders = ward.orders(call)
    assert orders is not None
    assert names(orders) == ["new"]
    ward.report(orders[0])
    ward.clock.advance(60)
    ward.do(c.AddBackend(backend("newer", "m")))
    assert names(ward.take(most=2))[0] == "newer"


def test_undrained_and_moved_backends_are_probed_at_once() -> None:
    """Nobody knows how they are."""
    ward = served(Ward(unchecked("a"), unchecked("b"), unchecked("c")))
    assert ward.take() == []
    ward.do(c.DrainBackend("a"))
    ward.do(c.UndrainBackend("a"))
    ward.do(c.PutBackend(unchecked("b", url="http://elsewhere:1"), keep_status=True))
    assert [(order.name, order.url) for order in ward.take()] == [("a", "http://a:8000"), ("b", "http://elsewhere:1")]


def test_a_finding_of_an_old_address_is_ignored() -> None:
    """The backend is probed again, where it is now."""
    ward = Ward(unchecked("a"))
    (old,) = ward.take()
    ward.do(c.PutBackend(unchecked("a", url="http://elsewhere:1"), keep_status=False))
    (new,) = ward.take()
    ward.report(old, UNHEALTHY)
    assert ward.status() is UNKNOWN
    ward.report(new, HEALTHY)
    assert ward.status() is HEALTHY


def test_a_finding_of_a_removed_backend_is_ignored() -> None:
    """Also when there is another one of its id by now, which is new."""
    ward = Ward(unchecked("a"))
    (old,) = ward.take()
    ward.do(c.RemoveBackend("a"))
    ward.do(c.AddBackend(unchecked("a")))
    ward.report(old, UNHEALTHY)
    assert ward.status() is UNKNOWN
    assert names(ward.take()) == ["a"]


def test_a_status_set_by_hand_counts_anew() -> None:
    """What was found in a row before it does not count any more."""
    ward = served(Ward(unchecked("a")))
    for _ in range(2):
        ward.probe(UNHEALTHY)
    ward.do(c.UpdateStatus("a", UNHEALTHY, "by hand"))
    ward.do(c.UpdateStatus("a", HEALTHY))
    for expected in (HEALTHY, HEALTHY, UNHEALTHY):
        ward.probe(UNHEALTHY, error="refused")
        assert ward.status() is expected


def test_one_marked_healthy_by_hand_is_not_forgotten() -> None:
    """However long the wait was before, it is probed within an interval."""
    ward = Ward(unchecked("a"))
    for _ in range(9):
        ward.probe(UNHEALTHY)
    ward.do(c.UpdateStatus("a", HEALTHY))
    assert ward.probe() <= 30.01


def test_a_grpc_backend_is_not_probed() -> None:
    """Nor do requests change its status, since nobody would find out that it is well again."""
    ward = Ward(backend("a", "m", connection=Connection.GRPC))
    assert ward.take() == []
    ward.request(Outcome.UNREACHABLE, 5)
    assert ward.status() is HEALTHY
    ward.do(c.PutBackend(backend("a", "m"), keep_status=True))
    assert names(ward.take()) == ["a"]
    ward.do(c.PutBackend(backend("a", "m", connection=Connection.GRPC), keep_status=True))
    ward.tick(100)
    assert ward.take() == []


# -- requests ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("outcome", sorted(TROUBLES))
def test_requests_that_fail_in_a_row_make_it_unhealthy(outcome: Outcome) -> None:
    """As many as probes would have to; the reason says so."""
    ward = served(Ward(unchecked("a")))
    ward.request(outcome, 2)
    assert ward.status() is HEALTHY
    ward.request(outcome)
    assert ward.status() is UNHEALTHY
    assert ward.record().last_error == f"3 requests in a row failed, the last one with: {TROUBLES[outcome]}"


@pytest.mark.parametrize("outcome", [Outcome.CLIENT_ERROR, Outcome.CANCELLED])
def test_wrong_requests_say_nothing(outcome: Outcome) -> None:
    """They neither count nor end a row."""
    ward = served(Ward(unchecked("a")))
    ward.request(outcome, 10)
    ward.request(Outcome.TIMEOUT, 2)
    ward.request(outcome, 10)
    assert ward.status() is HEALTHY
    ward.request(Outcome.TIMEOUT)
    assert ward.status() is UNHEALTHY


def test_a_good_request_ends_the_row() -> None:
    """It takes three in a row, not three in all."""
    ward = served(Ward(unchecked("a")))
    for _ in range(3):
        ward.request(Outcome.TIMEOUT, 2)
        ward.request(Outcome.OK)
    assert ward.status() is HEALTHY


def test_the_first_failed_request_asks_for_a_probe() -> None:
    """At once, but not oftener than once a second."""
    ward = served(Ward(unchecked("a")))
    ward.clock.advance(2)
    call = ward.ask()
    ward.request(Outcome.BROKEN)
    orders = ward.orders(call)
    assert orders is not None
    ward.report(orders[0])
    ward.request(Outcome.OK)
    ward.request(Outcome.BROKEN)
    assert ward.probe() == pytest.approx(1, abs=0.01)


def test_requests_that_began_before_it_was_healthy_say_nothing() -> None:
    """Those that were on their way when it died fail late, and must not take it out when it is back."""
    ward = served(Ward(unchecked("a")))
    grants = [ward.acquire(3) for _ in range(6)]
    for grant in grants[:3]:
        ward.do(c.Release(grant.id, Outcome.TIMEOUT), 3)
    assert ward.status() is UNHEALTHY
    for _ in range(2):
        ward.probe(HEALTHY)
    assert ward.status() is HEALTHY
    for grant in grants[3:]:
        ward.do(c.Release(grant.id, Outcome.TIMEOUT), 3)
    assert ward.status() is HEALTHY


def outage_s(ward: Ward) -> float:
    """Let requests make it unhealthy and probes healthy; how long that takes."""
    ward.request(Outcome.SERVER_ERROR, 3)
    begun_s = ward.now_s
    while ward.status() is not HEALTHY:
        ward.probe(HEALTHY)
    return ward.now_s - begun_s


def test_one_that_fails_requests_and_not_probes_does_not_flap() -> None:
    """It stays away twice as long each time, up to twice the interval, and a second for the second probe."""
    ward = served(Ward(unchecked("a")))
    outages = [outage_s(ward) for _ in range(8)]
    for outage, expected in zip(outages, (1, 2, 4, 8, 16, 32, 60, 60), strict=True):
        assert outage == pytest.approx(expected + 1, rel=0.11)


def test_a_probe_under_way_does_not_end_that() -> None:
    """A success that comes while it must stay away does not count."""
    ward = served(Ward(unchecked("a")))
    for _ in range(4):
        outage_s(ward)
    ward.clock.advance(40)
    (order,) = ward.take()
    ward.request(Outcome.SERVER_ERROR, 3)
    ward.report(order)
    assert ward.take() == []
    assert ward.course().successes == 0
    begun_s = ward.now_s
    while ward.status() is not HEALTHY:
        ward.probe(HEALTHY)
    assert ward.now_s - begun_s > 8


def test_good_requests_make_up_for_failed_ones() -> None:
    """Each of them for one time it was taken out."""
    ward = served(Ward(unchecked("a")))
    for _ in range(3):
        outage_s(ward)
    ward.request(Outcome.OK, 2)
    assert outage_s(ward) == pytest.approx(3, rel=0.11)


def test_an_interval_of_health_makes_up_for_a_failure() -> None:
    """Once for each interval."""
    ward = served(Ward(unchecked("a")))
    for _ in range(4):
        outage_s(ward)
    begun_s = ward.now_s
    while ward.now_s - begun_s < 65:
        assert ward.course().trips >= 2
        ward.probe(HEALTHY)
    assert ward.course().trips in {2, 3}


def test_without_a_health_checker_requests_change_nothing() -> None:
    """Nobody would find out that it is well again; so it is too when the checker has left."""
    ward = Ward(backend("a", "m"))
    ward.request(Outcome.UNREACHABLE, 10)
    assert ward.status() is HEALTHY
    served(ward)
    ward.end(1)
    ward.request(Outcome.UNREACHABLE, 10)
    assert ward.status() is HEALTHY


def test_one_failure_may_be_enough() -> None:
    """With a threshold of one the first failed request counts, and the reason says so."""
    ward = served(Ward(unchecked("a"), rules=HealthRules(failure_threshold=1)))
    ward.request(Outcome.TIMEOUT)
    assert (ward.status(), ward.record().last_error) == (
        UNHEALTHY,
        "a request failed, the last one with: no answer in time",
    )


def test_one_that_drains_is_not_judged_by_requests() -> None:
    """Its last requests may end as they like."""
    ward = served(Ward(unchecked("a")))
    grants = [ward.acquire(3) for _ in range(4)]
    ward.do(c.DrainBackend("a"))
    for grant in grants:
        ward.do(c.Release(grant.id, Outcome.BROKEN), 3)
    assert ward.status() is DRAINING
