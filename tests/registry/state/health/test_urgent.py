"""What somebody waits for is handed out first, and to those who ask for nothing else."""

from __future__ import annotations

from registry import commands as c
from registry.kinds import Target
from tests.registry.state.health.wards import Ward, names, unchecked
from tests.registry.state.lives import WAITS, Call


def ask_urgent(ward: Ward, session: int = 1) -> Call:
    """A checker asks for what somebody waits for, and waits if there is nothing."""
    call = ward.say(c.NextProbes(10, urgent_only=True), session)
    ward.commit()
    return call


def check(ward: Ward, name: str) -> Call:
    """Somebody wants to know of a service now."""
    call = ward.say(c.CheckService(name), 3)
    ward.commit()
    return call


def test_only_what_somebody_waits_for() -> None:
    """Who asks for urgent ones gets no others, though they are due, and is served when somebody comes."""
    ward = Ward(unchecked("a"))
    ward.register("s")
    urgent = ask_urgent(ward)
    assert ward.orders(urgent) is None
    checking = check(ward, "s")
    orders = ward.orders(urgent) or []
    assert (names(orders, Target.SERVICE), names(orders)) == (["s"], [])
    assert [order.urgent for order in orders] == [True]
    assert ward.answer(checking) is WAITS
    assert names(ward.take()) == ["a"]


def test_urgent_at_once() -> None:
    """What somebody waits for already is handed out at once, without what else is due."""
    ward = Ward(unchecked("a"))
    ward.register("s")
    ward.ask()
    ward.do(c.AddBackend(unchecked("b")))
    check(ward, "s")
    orders = ward.orders(ask_urgent(ward, session=2)) or []
    assert (names(orders, Target.SERVICE), names(orders)) == (["s"], [])


def test_who_waits_for_urgent_ones_keeps_nobody_waiting() -> None:
    """Others who came later get what is due meanwhile."""
    ward = Ward()
    urgent, other = ask_urgent(ward), ward.ask(2)
    ward.do(c.AddBackend(unchecked("a")))
    ward.clock.advance(0.5)
    ward.tick()
    assert ward.orders(urgent) is None
    assert names(ward.orders(other) or []) == ["a"]
