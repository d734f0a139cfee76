"""Any sequence of what happens to targets and health checkers, beside a model of what may be seen of it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import msgspec
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from actors.errors import CallTimeout, CommandError
from registry import commands as c
from registry.errors import CommandInvalid, LeaseNotFound, ServiceNotFound
from registry.kinds import BackendStatus, Connection, Outcome, ServiceHealth, Target
from registry.state.health.health import CLAIM_MARGIN_S
from registry.state.health.verdicts import FINDINGS, TROUBLES
from registry.state.probe_records import Aim, ProbeOrder
from registry.state.rules import HealthRules
from tests.registry.state.driver import backend
from tests.registry.state.health.wards import DRAINING, HEALTHY, UNHEALTHY, Ward
from tests.registry.state.lives import Call
from tests.registry.state.pictures import done_twice, picture, rebuilt

RULES = HealthRules(interval_s=4.0, timeout_s=1.0, heartbeat_timeout_s=1e6, stale_after_s=1e6)
CLAIM_S = RULES.timeout_s + CLAIM_MARGIN_S
LONGEST_WAIT_S = 2 * RULES.interval_s * 1.1
TICK_S = 0.5

BACKENDS = ("a", "b", "c")
SERVICES = ("s", "t")
CHECKERS = (0, 1)

ids = st.sampled_from(BACKENDS)
services = st.sampled_from(SERVICES)
checkers = st.sampled_from(CHECKERS)
findings = st.sampled_from((*[HEALTHY] * 3, *[UNHEALTHY] * 3, *sorted(FINDINGS)))
statuses = st.sampled_from((*[HEALTHY] * 5, *BackendStatus))
urls = st.sampled_from(("http://one:1", "http://two:2"))


class Held(NamedTuple):
    """What a checker has to probe, as the model knows it."""

    order: ProbeOrder
    session: int
    since_s: float


class Judged(NamedTuple):
    """What is known of a backend: its status, findings in a row, and failed requests in a row."""

    status: BackendStatus
    failures: int = 0
    successes: int = 0
    troubles: int = 0


class HealthMachine(RuleBasedStateMachine):
    """The registry and the model of it, told the same."""

    def __init__(self) -> None:
        super().__init__()
        self.ward = Ward(rules=RULES, sessions=(1, 2, 3))
        self.sessions = {0: 1, 1: 2}
        self.client = 3
        self.latest_session = 3
        self.held: dict[int, Held] = {}
        self.old: list[ProbeOrder] = []
        self.asking: dict[Call, int] = {}
        self.urgent: set[Call] = set()
        self.checking: dict[Call, str] = {}
        self.judged: dict[str, Judged] = {}
        self.health: dict[str, ServiceHealth] = {}
        self.handed_s: dict[Aim, float] = {}
        self.known: set[int] = set()
        self.new: set[Call] = set()

    # -- every step is also undone and done again --------------------------------------------------------------

    def do(self, step: Callable[[], Any]) -> Any:
        result = done_twice(self.ward.engine, step)
        self.new |= self.ward.commit()
        self.read()
        return result

    def tell(self, command: c.Command, session: int | None = None) -> Any:
        sender = self.client if session is None else session
        call = self.do(lambda: self.ward.say(command, sender))
        return self.ward.answer(call)

    def read(self) -> None:
        """Take in what checkers were given and what those who wait for a service were told."""
        for call in sorted(self.new):
            if call in self.asking:
                del self.asking[call]
                self.given(call)
            elif call in self.checking:
                name = self.checking.pop(call)
                if name in self.health:
                    assert (
                        self.ward.answer(call)["health_status"] == self.ward.actor.services.require(name).health_status
                    )
                else:
                    with pytest.raises(ServiceNotFound):
                        self.ward.answer(call)
        self.new.clear()

    def given(self, call: Call) -> None:
        orders = self.ward.orders(call)
        assert orders
        assert all(order.urgent for order in orders) or call not in self.urgent
        for order in orders:
            aim = (order.target, order.name)
            assert order.number not in self.held
            assert order.number not in {old.number for old in self.old}
            assert aim not in {(held.order.target, held.order.name) for held in self.held.values()}
            self.held[order.number] = Held(order, call[0], self.ward.now_s)
            self.handed_s[aim] = self.ward.now_s

    def drop(self, *numbers: int) -> None:
        self.old += [self.held.pop(number).order for number in numbers]

    def void(self, aim: Aim) -> None:
        self.drop(*[number for number, held in self.held.items() if (held.order.target, held.order.name) == aim])

    @property
    def is_served(self) -> bool:
        """Whether there is a health checker."""
        return bool(self.known & set(self.sessions.values()))

    @initialize(status=statuses, most=st.integers(1, 3))
    def begin(self, status: BackendStatus, most: int) -> None:
        self.put("a", BackendStatus.UNKNOWN, "http://one:1", Connection.HTTP)
        self.put("b", status, "http://one:1", Connection.HTTP)
        self.register("s", "http://127.0.0.1:9000")
        self.ask(0, most, 1e6)

    # -- backends ----------------------------------------------------------------------------------------------

    @rule(
        data=st.data(),
        id=ids,
        status=statuses,
        url=urls,
        connection=st.sampled_from((*[Connection.HTTP] * 4, Connection.GRPC)),
    )
    def configure_a_backend(
        self, data: st.DataObject, id: str, status: BackendStatus, url: str, connection: Connection
    ) -> None:
        """Somebody changes one thing of a backend. One rule for all of it: it is the probes that need many steps."""
        actions: list[Callable[[], None]] = [
            lambda: self.put(id, status, url, connection),
            lambda: self.set_by_hand(id, status),
            lambda: self.remove(id),
        ]
        data.draw(st.sampled_from(actions))()

    def put(self, id: str, status: BackendStatus, url: str, connection: Connection) -> None:
        """Somebody adds a backend, or gives it another address or status."""
        present = self.ward.actor.backends.records.get(id)
        record = backend(id, "m", status=status, url=f"{url}/{id}", connection=connection)
        if present is None or present.url != record.url or connection is Connection.GRPC:
            self.void((Target.BACKEND, id))
            self.judged[id] = Judged(status)
            self.handed_s[Target.BACKEND, id] = self.ward.now_s
        elif present.status is not status or present.connection is Connection.GRPC:
            self.judged[id] = Judged(status)
        if present is not None and present.connection is not connection:
            self.handed_s[Target.BACKEND, id] = self.ward.now_s
        self.tell(c.PutBackend(record, keep_status=False))

    def set_by_hand(self, id: str, status: BackendStatus) -> None:
        if id not in self.judged:
            return
        if self.judged[id].status is not status:
            self.judged[id] = Judged(status)
        self.tell(c.UpdateStatus(id, status, "by hand"))

    def remove(self, id: str) -> None:
        if id in self.judged:
            self.void((Target.BACKEND, id))
            del self.judged[id]
            self.tell(c.RemoveBackend(id))

    # -- services ----------------------------------------------------------------------------------------------

    @rule(data=st.data(), name=services, url=st.sampled_from(("http://127.0.0.1:9000", "http://h:1", "nonsense")))
    def configure_a_service(self, data: st.DataObject, name: str, url: str) -> None:
        """A service comes or goes."""
        actions: list[Callable[[], None]] = [lambda: self.register(name, url), lambda: self.unregister(name)]
        data.draw(st.sampled_from(actions))()

    def register(self, name: str, url: str) -> None:
        self.void((Target.SERVICE, name))
        self.health[name] = ServiceHealth.UNKNOWN
        self.handed_s[Target.SERVICE, name] = self.ward.now_s
        self.tell(c.RegisterService(name, "h", 1, "h", url, "running"))

    def unregister(self, name: str) -> None:
        if name in self.health:
            self.void((Target.SERVICE, name))
            del self.health[name]
            self.tell(c.RemoveService(name))

    @rule(name=services, wait_s=st.sampled_from((1.0, 100.0)))
    def check(self, name: str, wait_s: float) -> None:
        """Somebody wants to know of a service now."""
        command = c.CheckService(name)
        if name not in self.health:
            with pytest.raises(ServiceNotFound):
                self.tell(command)
            return
        deadline_s = self.ward.now_s + wait_s
        call = (self.client, self.ward._numbers.get(self.client, 0) + 1)
        self.checking[call] = name
        assert self.do(lambda: self.ward.say(command, self.client, deadline_s)) == call
        if not self.has_address(name):
            assert call not in self.checking
            self.health[name] = ServiceHealth.UNHEALTHY

    def has_address(self, name: str) -> bool:
        return self.ward.actor.services.probe_url(name) is not None

    # -- health checkers ---------------------------------------------------------------------------------------

    @rule(checker=checkers, most=st.integers(1, 3), wait_s=st.sampled_from((3.0, 1e6)), urgent_only=st.booleans())
    def ask(self, checker: int, most: int, wait_s: float, urgent_only: bool = False) -> None:
        session = self.sessions[checker]
        self.known.add(session)
        deadline_s = self.ward.now_s + wait_s
        call = (session, self.ward._numbers.get(session, 0) + 1)
        self.asking[call] = most
        if urgent_only:
            self.urgent.add(call)
        before = set(self.held)
        self.do(lambda: self.ward.say(c.NextProbes(most, urgent_only), session, deadline_s))
        assert sum(number not in before for number in self.held) <= most
        assert (call in self.asking) == (not self.held.keys() - before)

    @rule(data=st.data(), checker=checkers, found=st.lists(findings, min_size=1, max_size=8))
    def work(self, data: st.DataObject, checker: int, found: list[BackendStatus]) -> None:
        """Checkers probe what they have, or what they get in the next seconds."""
        for finding in found:
            for _ in range(3):
                if self.held:
                    break
                if self.sessions[checker] not in {session for session, _ in self.asking}:
                    self.ask(checker, 2, 1e6)
                self.time_passes(1.0)
            if self.held:
                self.report(data.draw(st.sampled_from(sorted(self.held))), finding)

    def report(self, number: int, found: BackendStatus) -> None:
        """A checker says what it has found, and says it twice."""
        order, session, _ = self.held[number]
        command = c.ReportProbe(number, found, "why", 3, None, None)
        other = next(one for one in (*self.sessions.values(), self.client) if one != session)
        self.ignored(command, other)
        self.drop(number)
        if order.target is Target.BACKEND:
            expected = self.expected(order.name, found)
            self.tell(command, session)
            self.judged[order.name] = expected
            self.check_record(order.name, found)
        else:
            stale = self.ward.actor.services.probe_url(order.name) != order.url
            if not stale:
                healthy = found is HEALTHY
                self.health[order.name] = ServiceHealth.HEALTHY if healthy else ServiceHealth.UNHEALTHY
            self.tell(command, session)
            assert not stale, "an update is no rule here"
            assert order.name not in self.checking.values()
        self.ignored(command, session)

    def expected(self, id: str, found: BackendStatus) -> Judged:
        """What becomes of a backend by a finding: the rules once more, in other words."""
        before = self.judged[id]
        status, failures, successes = before.status, before.failures, before.successes
        held_until_s = self.ward.course(id).held_until_s
        if found is HEALTHY and status is UNHEALTHY and self.ward.now_s < held_until_s:
            return before
        if found is HEALTHY:
            failures, successes = 0, successes + 1
            if status is not UNHEALTHY or successes == 2:
                status = HEALTHY
        else:
            failures, successes = failures + 1, 0
            if status is not HEALTHY or failures == 3:
                status = found
        if before.status is DRAINING:
            status = DRAINING
        return Judged(status, failures, successes, before.troubles if status is before.status else 0)

    def check_record(self, id: str, found: BackendStatus) -> None:
        record = self.ward.record(id)
        assert (record.status is HEALTHY) <= (record.last_error is None)
        state = self.ward.actor.backends.state(id)
        assert state is not None
        assert state.record.last_health_check_s == self.ward.clock.wall()
        if record.status is found is not HEALTHY:
            assert record.last_error == "why"

    def ignored(self, command: c.ReportProbe, session: int) -> None:
        before = picture(self.ward.engine)
        assert self.ward.do(command, session) is None
        assert picture(self.ward.engine) == before

    @rule(checker=checkers, found=findings)
    def report_what_nobody_waits_for(self, checker: int, found: BackendStatus) -> None:
        """Late findings, and some of no order at all, change nothing."""
        for number in {order.number for order in self.old[-3:]} | {1, 2**62}:
            self.ignored(c.ReportProbe(number, found), self.sessions[checker])

    @rule(status=st.sampled_from(sorted(set(BackendStatus) - FINDINGS)))
    def report_nonsense(self, status: BackendStatus) -> None:
        """A status that no probe can find is refused, whatever number it has."""
        before = picture(self.ward.engine)
        for number, session in [(number, held.session) for number, held in self.held.items()] or [(1, 1)]:
            if session in self.sessions.values():
                with pytest.raises(CommandInvalid):
                    self.ward.do(c.ReportProbe(number, status), session)
        assert picture(self.ward.engine) == before

    @rule(checker=checkers)
    def a_checker_dies(self, checker: int) -> None:
        gone = self.sessions[checker]
        self.asking = {call: most for call, most in self.asking.items() if call[0] != gone}
        self.drop(*[number for number, held in self.held.items() if held.session == gone])
        self.known.discard(gone)
        self.do(lambda: self.ward.engine.end(gone))
        self.latest_session += 1
        self.sessions[checker] = self.latest_session
        self.ward.join(self.latest_session)

    @precondition(lambda self: self.asking or self.checking)
    @rule(data=st.data())
    def somebody_waits_no_more(self, data: st.DataObject) -> None:
        self.cancel(data.draw(st.sampled_from(sorted({*self.asking, *self.checking}))))

    def cancel(self, call: Call) -> None:
        self.asking.pop(call, None)
        self.checking.pop(call, None)
        self.do(lambda: self.ward.engine.cancel(*call))

    # -- requests ----------------------------------------------------------------------------------------------

    @rule(outcome=st.sampled_from((*[Outcome.SERVER_ERROR] * 8, *Outcome)), times=st.integers(1, 6))
    def request(self, outcome: Outcome, times: int) -> None:
        """Requests end, on whatever backend they come to."""
        for _ in range(times):
            try:
                grant = self.ward.acquire(self.client)
            except CommandError:
                assert HEALTHY not in {judged.status for judged in self.judged.values()}
                return
            id = grant.backend
            before = self.judged[id]
            assert before.status is HEALTHY
            if self.is_served and id in self.ward.actor.health.of_backends.courses:
                if outcome is Outcome.OK:
                    self.judged[id] = before._replace(troubles=0)
                elif outcome in TROUBLES:
                    tripped = before.troubles == 2
                    self.judged[id] = Judged(UNHEALTHY) if tripped else before._replace(troubles=before.troubles + 1)
            self.tell(c.Release(grant.id, outcome))
            if self.judged[id].status is UNHEALTHY:
                course = self.ward.course(id)
                longest_s = min(2.0 ** (course.trips - 1), 2 * RULES.interval_s)
                assert course.held_until_s - self.ward.now_s == pytest.approx(longest_s, rel=0.11)
                assert "3 requests in a row failed" in str(self.ward.record(id).last_error)

    # -- time and deaths ---------------------------------------------------------------------------------------

    @rule(seconds=st.sampled_from((0.1, 1.0, 5.0, CLAIM_S)))
    def time_passes(self, seconds: float) -> None:
        self.ward.clock.advance(seconds)
        self.tick()

    def tick(self) -> None:
        now_s = self.ward.now_s
        waiting = dict(self.ward.engine._waiting.items())
        late = {call for call, deadline_s in waiting.items() if deadline_s < now_s}
        for calls in (self.asking, self.checking):
            for call in late & calls.keys():
                del calls[call]
        expired = [number for number, held in self.held.items() if held.since_s <= now_s - CLAIM_S]
        assert {number for number in expired if number in self.ward.actor.health.claims.records} == set(expired)
        self.drop(*expired)
        self.do(self.ward.engine.tick)
        for call in late:
            with pytest.raises(CallTimeout):
                self.ward.answer(call)
        for name in self.health:
            health = self.ward.actor.services.require(name).health_status
            if not self.has_address(name) and health is ServiceHealth.UNHEALTHY:
                self.health[name] = health
        agenda = self.ward.actor.health.agenda
        if self.asking.keys() - self.urgent:
            assert agenda.first(now_s) is None
        elif self.asking and (first := agenda.first(now_s)) is not None:
            assert not agenda.is_wanted(first)

    @rule(checker=checkers, found=st.sampled_from((HEALTHY, HEALTHY, UNHEALTHY)))
    def a_diligent_checker(self, checker: int, found: BackendStatus) -> None:
        """If one asks all the time, each target comes up within its time."""
        for call in list(self.asking):
            self.cancel(call)
        begun_s = self.ward.now_s
        health = ServiceHealth.HEALTHY if found is HEALTHY else ServiceHealth.UNHEALTHY
        for _ in range(int((LONGEST_WAIT_S + CLAIM_S) / TICK_S) + 3):
            self.ward.clock.advance(TICK_S)
            self.tick()
            self.ask(checker, 5, 1e6)
            for call in list(self.asking):
                self.cancel(call)
            for number, held in list(self.held.items()):
                if held.session == self.sessions[checker]:
                    self.drop(number)
                    if held.order.target is Target.BACKEND:
                        self.judged[held.order.name] = self.expected(held.order.name, found)
                    else:
                        self.health[held.order.name] = health
                    self.tell(c.ReportProbe(number, found, "why"), held.session)
        probed = {aim for aim, at_s in self.handed_s.items() if at_s > begun_s}
        http = {(Target.BACKEND, id) for id in self.judged if self.ward.record(id).connection is Connection.HTTP}
        assert http <= probed
        assert {(Target.SERVICE, name) for name in self.health if self.has_address(name)} <= probed
        for name in self.health:
            expected = health if self.has_address(name) else ServiceHealth.UNHEALTHY
            assert self.ward.actor.services.require(name).health_status is expected

    @rule()
    def the_owner_dies(self) -> None:
        """Claims and those who wait are there again in its next life, and so is what is derived."""
        before = picture(self.ward.engine)
        self.ward.next_owner()
        assert picture(self.ward.engine) == before

    @rule(data=st.data(), id=ids, name=services, checker=checkers)
    def a_batch_fails(self, data: st.DataObject, id: str, name: str, checker: int) -> None:
        """Nothing of an atomic batch remains if its last command is refused, whatever it has handed out or found."""
        session = self.sessions[checker]
        commands: list[c.Command] = [
            c.PutBackend(backend(id, "m", url="http://three:3"), keep_status=False),
            c.PutBackend(backend(id, "m", url="http://one:1", status=UNHEALTHY), keep_status=False),
            c.RegisterService(name, "h", 1, "h", "http://127.0.0.1:9000", "running"),
            *([c.NextProbes(2)] if self.ward.actor.health.agenda.first(self.ward.now_s) else []),
            *([c.RemoveBackend(id)] if id in self.judged else []),
            *([c.RemoveService(name)] if name in self.health else []),
            *(c.ReportProbe(number, HEALTHY) for number in self.held),
        ]
        chosen = data.draw(st.lists(st.sampled_from(commands), max_size=4, unique_by=id_of))
        before = picture(self.ward.engine)
        call = self.ward.say_batch([*chosen, c.Release(2**60)], session, atomic=True)
        self.ward.commit()
        with pytest.raises((LeaseNotFound, CommandInvalid)):
            self.ward.answer(call)
        assert picture(self.ward.engine) == before

    # -- what must hold after each of them ---------------------------------------------------------------------

    @invariant()
    def everything_agrees(self) -> None:
        engine = self.ward.engine
        assert picture(engine) == rebuilt(engine)
        health = self.ward.actor.health
        claims = dict(health.claims.records.items())
        assert {number: claim.session for number, claim in claims.items()} == {
            number: held.session for number, held in self.held.items()
        }
        assert len({(claim.target, claim.name) for claim in claims.values()}) == len(claims)
        assert {call for call, _ in health.asks.waiting.items()} == set(self.asking)
        assert dict(health.checks.waiting.items()) == self.checking
        assert set(health.asks.checkers) == self.known
        for id, judged in self.judged.items():
            assert self.ward.status(id) is judged.status
            course = health.of_backends.courses.get(id)
            if course is not None and self.is_served:
                assert course.status is judged.status
                assert course.troubles == judged.troubles
        assert set(self.ward.actor.backends.records) == set(self.judged)
        for name, found in self.health.items():
            if self.has_address(name):
                assert self.ward.actor.services.require(name).health_status is found

    def teardown(self) -> None:
        """When everything is gone nothing is left of it."""
        for session in (*self.sessions.values(), self.client):
            self.ward.end(session)
        self.ward.join(99)
        for id in self.judged:
            self.ward.do(c.RemoveBackend(id), 99)
        for name in self.health:
            self.ward.do(c.RemoveService(name), 99)
        self.ward.take(99)
        self.ward.end(99)
        for table in self.ward.actor.health.tables:
            assert not len(table), table.name
        assert not self.ward.actor.health.agenda.filed


def id_of(command: c.Command) -> bytes:
    """Something by which commands can be told apart."""
    return msgspec.msgpack.encode(command)


TestHealthMachine = HealthMachine.TestCase
TestHealthMachine.settings = settings(max_examples=60, stateful_step_count=25, deadline=None)
