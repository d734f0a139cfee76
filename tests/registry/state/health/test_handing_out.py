"""Who probes what, and when it is handed out."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from registry import commands as c
from registry.actor import RegistryActor
from registry.errors import LeaseNotFound
from registry.kinds import BackendStatus, Outcome, Target
from registry.state.health.health import CLAIM_MARGIN_S
from registry.state.rules import DEFAULT_RULES
from tests.registry.state.driver import backend
from tests.registry.state.health.wards import HEALTHY, UNHEALTHY, UNKNOWN, Ward, names, unchecked
from tests.registry.stores.journals import Flaky

CLAIM_S = DEFAULT_RULES.timeout_s + CLAIM_MARGIN_S


def test_each_target_is_probed_by_one() -> None:
    """Several checkers share the work."""
    ward = Ward(*(unchecked(f"b{number}") for number in range(10)))
    first, second, third = ward.take(1, most=4), ward.take(2, most=4), ward.take(1, most=4)
    assert [len(orders) for orders in (first, second, third)] == [4, 4, 2]
    assert len({*names(first), *names(second), *names(third)}) == 10
    assert len({order.number for order in first + second + third}) == 10


def test_what_a_dead_checker_had_goes_to_one_that_waits() -> None:
    """At once."""
    ward = Ward(unchecked("a"), unchecked("b"))
    old = ward.take(1)
    call = ward.ask(2)
    ward.end(1)
    orders = ward.orders(call)
    assert orders is not None
    assert names(orders) == ["a", "b"]
    assert {order.number for order in old}.isdisjoint(order.number for order in orders)


def test_order_is_to_be_begun_in_time() -> None:
    """A probe that begins as late as its order allows ends before another one is handed out."""
    ward = Ward(unchecked("a"))
    (one,) = ward.take(1)
    assert one.begin_until_s + DEFAULT_RULES.timeout_s == pytest.approx(ward.now_s + CLAIM_S)


def test_what_takes_too_long_goes_to_another() -> None:
    """A probe may take as long as it may, and some more; what is found after that is ignored."""
    ward = Ward(unchecked("a"))
    (old,) = ward.take(1)
    call = ward.ask(2)
    ward.tick(CLAIM_S - 0.1)
    assert ward.orders(call) is None
    ward.tick(0.2)
    orders = ward.orders(call)
    assert orders is not None
    assert names(orders) == ["a"]
    ward.report(old, HEALTHY, 1)
    assert ward.status() is UNKNOWN
    ward.report(orders[0], UNHEALTHY, 2)
    assert ward.status() is UNHEALTHY


def test_only_its_checker_reports() -> None:
    """A number alone is no right; and it is good for once."""
    ward = Ward(unchecked("a"))
    (order,) = ward.take(1)
    ward.report(order, UNHEALTHY, 2)
    assert ward.status() is UNKNOWN
    ward.report(order, HEALTHY, 1)
    ward.report(order, UNHEALTHY, 1)
    assert ward.status() is HEALTHY


def test_claims_and_those_who_wait_outlive_the_owner() -> None:
    """A checker notices nothing of a new owner."""
    ward = Ward(unchecked("a"))
    (order,) = ward.take(1)
    call = ward.ask(2)
    ward.next_owner()
    assert ward.take(1) == []
    ward.report(order)
    assert ward.status() is HEALTHY
    ward.do(c.AddBackend(unchecked("b")))
    orders = ward.orders(call)
    assert orders is not None
    assert names(orders) == ["b"]
    assert orders[0].number != order.number


def test_nothing_is_handed_to_one_that_waits_no_more() -> None:
    """Neither to one that gave up, nor to one whose time is over."""
    ward = Ward()
    ward.cancel(ward.ask(1))
    ward.say(c.NextProbes(5), 1, ward.now_s + 1)
    ward.clock.advance(2)
    ward.do(c.AddBackend(unchecked("a")), 3)
    assert names(ward.take(2)) == ["a"]


@pytest.mark.parametrize("command", [c.NextProbes(1), c.CheckService("s")])
def test_a_dead_session_is_given_nothing(command: c.Command) -> None:
    """What only its sender could use is not done."""
    assert not RegistryActor().wanted_after_death(command)


def test_a_finding_of_a_dead_session_counts() -> None:
    """It was found before its checker died."""
    assert RegistryActor().wanted_after_death(c.ReportProbe(1, HEALTHY))


def test_those_who_wait_are_served_in_turn() -> None:
    """Who came first is served first."""
    ward = Ward()
    calls = [ward.ask(2, most=1), ward.ask(1, most=1)]
    for id in ("a", "b"):
        ward.do(c.AddBackend(unchecked(id)))
    assert [ward.orders(call) is not None and names(ward.orders(call) or []) for call in calls] == [["a"], ["b"]]


# -- without a checker ---------------------------------------------------------------------------------------------


def test_without_a_checker_nothing_is_kept_of_backends() -> None:
    """In a library nobody may ever ask."""
    ward = Ward()
    for turn in range(20):
        for number in range(5):
            ward.do(c.AddBackend(backend(f"b{turn}-{number}", "m")))
        ward.request(Outcome.TIMEOUT, 3)
        for number in range(5):
            ward.do(c.RemoveBackend(f"b{turn}-{number}"))
        ward.tick(1)
    health = ward.actor.health
    assert not any(len(table) for table in health.tables)
    assert not ward.actor.backends.stirred
    assert not health._unsettled
    assert not health.agenda.filed


def test_a_removed_target_leaves_nothing() -> None:
    """Neither a course nor a claim, nor a place in the heap for ever."""
    ward = Ward(unchecked("keep"))
    ward.take(1, most=1)
    for number in range(400):
        ward.do(c.AddBackend(unchecked(f"b{number}")))
        ward.register(f"s{number}")
        ward.take(1)
        ward.do(c.RemoveBackend(f"b{number}"))
        ward.do(c.RemoveService(f"s{number}"))
    ward.tick(1)
    health = ward.actor.health
    assert list(health.of_backends.courses) == ["keep"]
    assert not len(health.of_services.courses)
    assert len(health.claims.records) == 1
    assert len(health.agenda._heap) <= 2 * len(health.agenda.filed) + 101
    assert not health._unsettled


# -- a start -------------------------------------------------------------------------------------------------------


def test_after_a_start_the_unknown_come_first() -> None:
    """What is remembered is looked at in the next seconds, services in the next interval."""
    ward = Ward(*(backend(f"b{number}", "m") for number in range(200)), unchecked("z"))
    for number in range(200):
        ward.register(f"s{number}")
    ward.next_system()
    for session in (1, 2):
        ward.join(session)
    assert names(ward.take()) == ["z"]
    counts = []
    seen: set[str] = set()
    for _ in range(30):
        ward.tick(1)
        orders = [order for order in ward.take() if order.name not in seen]
        seen.update(order.name for order in orders)
        counts.append((len(names(orders)), len(names(orders, Target.SERVICE))))
    backends, services = zip(*counts, strict=True)
    assert sum(backends[:5]) == 200
    assert max(backends) < 80
    assert sum(services) == 200
    assert max(services) < 25


def test_what_begins_and_is_undone_begins_again() -> None:
    """A checker that asks in a batch of which nothing remains has claimed nothing, and all is there for the next."""
    ward = Ward(unchecked("a"))
    ward.register("s")
    ward.next_system()
    for session in (1, 2):
        ward.join(session)
    lost = ward.say_batch([c.NextProbes(5), c.Release(2**60)], 1, atomic=True)
    ward.commit()
    assert isinstance(ward.answers[lost], LeaseNotFound)
    assert not any(len(table) for table in ward.actor.health.tables)
    assert names(ward.take(2)) == ["a"]
    ward.tick(31)
    assert names(ward.take(2), Target.SERVICE) == ["s"]


def test_a_finding_that_cannot_be_stored_is_refused_and_the_target_probed_again(tmp_path: Path) -> None:
    """The status is as it was, and when the disk is well again so is the rest."""
    journal = Flaky(tmp_path / "registry.db")
    ward = Ward(unchecked("a"), journal=journal)
    (order,) = ward.take()
    journal.fails = True
    call = ward.say(c.ReportProbe(order.number, HEALTHY), 1)
    ward.commit()
    journal.fails = False
    assert isinstance(ward.answers[call], Exception)
    assert ward.status() is UNKNOWN
    ward.tick(CLAIM_S)
    ward.probe(HEALTHY)
    assert ward.status() is HEALTHY
    journal.close()


def test_thousands_of_targets_cost_no_more_than_a_few() -> None:
    """An order and its finding take about as long, however many other targets there are."""

    def cost_s(count: int) -> float:
        ward = Ward(*(unchecked(f"b{number}") for number in range(count)))
        for _ in range(count // 1_000 + 1):
            for order in ward.take(1):
                ward.report(order, BackendStatus.HEALTHY)
            ward.tick(0.1)
        best = float("inf")
        for _ in range(5):
            begun_s = time.perf_counter()
            for _ in range(20):
                ward.tick(0.01)
                for order in ward.take(1, most=1):
                    ward.report(order)
            best = min(best, time.perf_counter() - begun_s)
        return best

    assert cost_s(4_000) < 5 * cost_s(40)
