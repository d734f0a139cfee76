"""A registry whose backends and services are probed, in the owner's engine and without a network."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from actors.journal import Journal
from registry import commands as c
from registry.kinds import BackendStatus, Outcome, Target
from registry.state.probe_records import BackendCourse, ProbeOrder
from registry.state.records import BackendRecord
from registry.state.rules import DEFAULT_RULES, HealthRules
from tests.registry.state.driver import backend
from tests.registry.state.lives import WAITS, Call, Life

HEALTHY, UNHEALTHY, UNKNOWN, DRAINING = (
    BackendStatus.HEALTHY,
    BackendStatus.UNHEALTHY,
    BackendStatus.UNKNOWN,
    BackendStatus.DRAINING,
)


class Ward(Life):
    """A registry, its health checkers, and the words for what they say."""

    def __init__(
        self,
        *backends: BackendRecord,
        rules: HealthRules = DEFAULT_RULES,
        journal: Journal | None = None,
        sessions: Sequence[int] = (1, 2, 3),
    ) -> None:
        super().__init__(journal, sessions, rules)
        for record in backends:
            self.do(c.AddBackend(record))

    @property
    def now_s(self) -> float:
        return self.clock.monotonic()

    # -- health checkers ---------------------------------------------------------------------------------------

    def ask(self, session: int = 1, most: int = 1_000) -> Call:
        """A checker asks for something to probe, and waits if there is nothing."""
        call = self.say(c.NextProbes(most), session)
        self.commit()
        return call

    def orders(self, call: Call) -> list[ProbeOrder] | None:
        """What it was given; None if it waits."""
        answer = self.answer(call)
        return None if answer is WAITS else msgspec.convert(answer, list[ProbeOrder])

    def take(self, session: int = 1, most: int = 1_000) -> list[ProbeOrder]:
        """What there is to be probed; the checker does not wait."""
        call = self.ask(session, most)
        orders = self.orders(call)
        if orders is None:
            self.cancel(call)
        return orders or []

    def report(self, order: ProbeOrder, status: BackendStatus = HEALTHY, session: int = 1, **fields: Any) -> None:
        self.do(c.ReportProbe(order.number, status, **fields), session)

    def probe(self, status: BackendStatus = HEALTHY, session: int = 1, **fields: Any) -> float:
        """Wait for the next order, and report this; returns for how long nothing was due."""
        begun_s = self.now_s
        orders = self.take(session, most=1)
        if not orders:
            self.clock.advance(min(self.actor.health.agenda.filed.values()) - begun_s - 0.001)
            assert not self.take(session, most=1)
            self.clock.advance(0.002)
            orders = self.take(session, most=1)
        self.report(orders[0], status, session, **fields)
        return self.now_s - begun_s

    # -- what is probed ----------------------------------------------------------------------------------------

    def register(self, name: str, url: str = "http://127.0.0.1:9000", session: int = 2) -> None:
        self.do(c.RegisterService(name, "127.0.0.1", 9000, "h", url, "running"), session)

    def status(self, id: str = "a") -> BackendStatus:
        return self.record(id).status

    def record(self, id: str = "a") -> BackendRecord:
        return self.actor.backends.require(id)

    def course(self, id: str = "a") -> BackendCourse:
        course = self.actor.health.of_backends.courses.get(id)
        assert course is not None
        return course

    def request(self, outcome: Outcome, times: int = 1, model: str = "m") -> None:
        """Requests that end like this, one after another, on a backend that has the model."""
        for _ in range(times):
            grant = self.acquire(3, model)
            self.do(c.Release(grant.id, outcome), 3)

    @property
    def revision(self) -> int:
        return self.engine.turn.revision


def unchecked(id: str, **fields: Any) -> BackendRecord:
    """A backend that nobody has probed yet."""
    return backend(id, "m", **{"status": UNKNOWN, **fields})


def names(orders: Sequence[ProbeOrder], target: Target = Target.BACKEND) -> list[str]:
    """What orders are of."""
    return [order.name for order in orders if order.target is target]
