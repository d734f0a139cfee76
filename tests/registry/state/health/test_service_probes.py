"""What findings do to a service, and to those who wait for them."""

from __future__ import annotations

from typing import Any

import pytest

from actors.errors import CallTimeout
from registry import commands as c
from registry.errors import ServiceNotFound
from registry.kinds import BackendStatus, ServiceHealth, Target
from registry.state.health.verdicts import FINDINGS
from tests.registry.state.health.wards import HEALTHY, UNHEALTHY, Ward, names
from tests.registry.state.lives import WAITS, Call


def health(ward: Ward, name: str = "s") -> ServiceHealth:
    """What was found of a service."""
    return ward.actor.services.require(name).health_status


def check(ward: Ward, name: str = "s") -> Call:
    """Somebody wants to know how a service is."""
    call = ward.say(c.CheckService(name), 3)
    ward.commit()
    return call


def test_the_first_probe_comes_after_an_interval() -> None:
    """Not before, however long the health checker has waited; also if it has come later than the service."""
    ward = Ward()
    ward.register("early")
    ward.clock.advance(3)
    assert ward.take() == []
    ward.register("late")
    ward.clock.advance(26.9)
    assert ward.take() == []
    ward.clock.advance(0.2)
    assert names(ward.take(), Target.SERVICE) == ["early"]
    ward.clock.advance(2.8)
    assert ward.take() == []
    ward.clock.advance(0.2)
    assert names(ward.take(), Target.SERVICE) == ["late"]


def test_one_that_is_registered_anew_is_new() -> None:
    """A finding of what was there before is ignored, and the next probe comes after an interval."""
    ward = Ward()
    ward.register("s")
    ward.clock.advance(31)
    (old,) = ward.take()
    ward.register("s")
    ward.report(old)
    assert health(ward) is ServiceHealth.UNKNOWN
    ward.clock.advance(29)
    assert ward.take() == []
    ward.clock.advance(2)
    assert names(ward.take(), Target.SERVICE) == ["s"]


def test_one_that_is_registered_all_the_time_is_probed() -> None:
    """Each in the same words puts nothing off. What a probe found is gone with the next one, which is a change then."""
    ward = Ward()
    ward.register("s")
    for _ in range(3):
        ward.clock.advance(9)
        ward.register("s")
    ward.clock.advance(4)
    (order,) = ward.take()
    ward.report(order)
    before = ward.revision
    for _ in range(2):
        ward.register("s")
        assert health(ward) is ServiceHealth.UNKNOWN
        assert ward.revision == before + 1


@pytest.mark.parametrize("found", sorted(FINDINGS))
def test_each_finding_counts_at_once(found: BackendStatus) -> None:
    """A service has no thresholds: it is healthy or it is not. The background probe is no sign of life."""
    ward = Ward()
    ward.register("s")
    beat = ward.actor.services.beats.get("s")
    ward.probe(found)
    assert health(ward) is (ServiceHealth.HEALTHY if found is HEALTHY else ServiceHealth.UNHEALTHY)
    assert ward.actor.services.beats.get("s") == beat


def test_one_that_fails_is_probed_each_interval() -> None:
    """There is no back-off: the interval is promised."""
    ward = Ward()
    ward.register("s")
    waits = [ward.probe(UNHEALTHY) for _ in range(8)]
    assert waits[0] == pytest.approx(30, abs=0.01)
    assert 0.9 < waits[1] <= 30.01
    assert waits[2:] == [pytest.approx(30, rel=0.101)] * 6


def test_one_without_an_address_is_unhealthy_without_a_probe() -> None:
    """When its time has come; each of them is a change of its own."""
    ward = Ward()
    for name in ("s", "t"):
        ward.register(name, url="nonsense")
    assert ward.take() == []
    ward.tick(29)
    assert (health(ward, "s"), health(ward, "t")) == (ServiceHealth.UNKNOWN,) * 2
    before = ward.revision
    call = ward.ask()
    ward.tick(2)
    assert ward.orders(call) is None
    assert (health(ward, "s"), health(ward, "t")) == (ServiceHealth.UNHEALTHY,) * 2
    assert ward.revision == before + 2


def test_the_order_has_the_whole_address() -> None:
    """The health checker gets it as it is."""
    ward = Ward()
    ward.register("s", url="http://127.0.0.1:9000/")
    ward.clock.advance(31)
    assert [order.url for order in ward.take()] == ["http://127.0.0.1:9000/health"]


def test_a_finding_of_an_old_address_is_ignored() -> None:
    """The service is probed again, where it is now."""
    ward = Ward()
    ward.register("s")
    ward.clock.advance(31)
    (old,) = ward.take()
    ward.do(c.UpdateService("s", url="http://127.0.0.1:9999"))
    ward.report(old, HEALTHY)
    assert health(ward) is ServiceHealth.UNKNOWN
    assert [order.url for order in ward.take()] == ["http://127.0.0.1:9999/health"]


# -- those who want to know now ------------------------------------------------------------------------------------


def test_a_check_is_handed_out_at_once_and_answered_when_the_finding_comes() -> None:
    """Also before the first interval is over; a healthy service is alive then."""
    ward = Ward()
    ward.register("s")
    asked = ward.ask(1)
    ward.clock.advance(5)
    call = check(ward)
    orders = ward.orders(asked)
    assert orders is not None
    assert [(order.name, order.urgent) for order in orders] == [("s", True)]
    assert ward.answer(call) is WAITS
    ward.report(orders[0], HEALTHY)
    answer: dict[str, Any] = ward.answer(call)
    assert (answer["health_status"], answer["last_heartbeat"]) == ("healthy", ward.clock.wall())


def test_an_unhealthy_one_is_not_alive() -> None:
    """Its latest sign of life stays what it was."""
    ward = Ward()
    ward.register("s")
    beat_s = ward.clock.wall()
    ward.clock.advance(5)
    call = check(ward)
    ward.report(ward.take()[0], UNHEALTHY)
    answer: dict[str, Any] = ward.answer(call)
    assert (answer["health_status"], answer["last_heartbeat"]) == ("unhealthy", beat_s)


def test_many_checks_are_one_probe() -> None:
    """Whoever comes while it is under way waits for the same finding."""
    ward = Ward()
    ward.register("s")
    calls = [check(ward), check(ward)]
    (order,) = ward.take()
    calls.append(check(ward))
    assert ward.take(2) == []
    ward.report(order)
    assert [ward.answer(call)["health_status"] for call in calls] == ["healthy"] * 3


def test_checks_come_before_everything_else() -> None:
    """Somebody waits for them."""
    ward = Ward()
    for name in ("a", "s"):
        ward.register(name)
    ward.clock.advance(100)
    check(ward)
    assert names(ward.take(most=1), Target.SERVICE) == ["s"]


def test_a_check_does_not_move_the_interval() -> None:
    """A service that is asked for now and then keeps its place."""
    ward = Ward()
    ward.register("s")
    ward.clock.advance(29)
    check(ward)
    ward.report(ward.take()[0])
    assert ward.probe() == pytest.approx(1, abs=0.01)


def test_a_check_of_an_unknown_service_is_refused() -> None:
    """There is nothing to wait for."""
    with pytest.raises(ServiceNotFound):
        Ward().do(c.CheckService("s"))


def test_a_check_is_refused_when_the_service_is_removed() -> None:
    """Whether it is being probed or not; a late finding is ignored."""
    ward = Ward()
    ward.register("s")
    calls = [check(ward)]
    (order,) = ward.take()
    calls.append(check(ward))
    ward.do(c.RemoveService("s"))
    for call in calls:
        with pytest.raises(ServiceNotFound):
            ward.answer(call)
    ward.report(order)
    assert "s" not in ward.actor.services.records


def test_a_check_goes_on_when_the_service_is_registered_anew() -> None:
    """What is there now is probed for it."""
    ward = Ward()
    ward.register("s")
    call = check(ward)
    (old,) = ward.take()
    ward.register("s", url="http://127.0.0.1:9001")
    ward.report(old, UNHEALTHY)
    assert ward.answer(call) is WAITS
    ward.report(ward.take()[0], HEALTHY)
    assert ward.answer(call)["health_status"] == "healthy"


def test_a_check_of_one_without_an_address_is_answered_at_once() -> None:
    """Also if the address goes while somebody waits."""
    ward = Ward()
    ward.register("s", url="nonsense")
    assert ward.answer(check(ward))["health_status"] == "unhealthy"
    ward.register("s")
    call = check(ward)
    ward.do(c.UpdateService("s", url="nonsense"))
    assert ward.take() == []
    assert ward.answer(call)["health_status"] == "unhealthy"


def test_a_check_that_nobody_waits_for_is_forgotten() -> None:
    """It is not probed before its time then."""
    ward = Ward()
    ward.register("s")
    ward.cancel(check(ward))
    late = ward.say(c.CheckService("s"), 3, ward.now_s + 1)
    ward.tick(2)
    with pytest.raises(CallTimeout):
        ward.answer(late)
    assert ward.take() == []
    assert not len(ward.actor.health.checks.waiting)


def test_a_check_outlives_the_owner() -> None:
    """And so does the order for it."""
    ward = Ward()
    ward.register("s")
    call = check(ward)
    (order,) = ward.take()
    ward.next_owner()
    assert ward.take(2) == []
    ward.report(order)
    assert ward.answer(call)["health_status"] == "healthy"
