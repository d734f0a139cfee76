"""Any sequence of commands of any sessions, beside a model of the registry that is too simple to be wrong."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from actors.errors import CallTimeout, StorageUnavailable
from registry import commands as c
from registry.errors import (
    BackendNotFound,
    DuplicateBackend,
    LeaseNotFound,
    ModelNotFound,
    NoBackendAvailable,
    RevisionMismatch,
)
from registry.kinds import BackendStatus, Outcome
from registry.state.backends import moved_average
from registry.state.records import Grant, ModelRecord
from tests.registry.state.driver import backend
from tests.registry.state.expected import Expected, Waiting
from tests.registry.state.lives import WAITS, Call, Life, grant_of
from tests.registry.state.pictures import done_twice, picture, rebuilt
from tests.registry.stores.journals import Flaky

IDS = ("a", "b", "c")
MODELS = ("m", "n")

ids = st.sampled_from(IDS)
model_ids = st.sampled_from(("m", "m", "n"))
sessions = st.integers(0, 2)
# Most of the time there is something to be had, but not enough of it.
statuses = st.sampled_from((*[BackendStatus.HEALTHY] * 4, *BackendStatus))
model_lists = st.sampled_from((("m",), ("m",), ("m", "n"), ("m", "m", "n"), ("n",), ()))
limits = st.sampled_from((1, 1, 1, 2, None))
latencies = st.integers(0, 1_000)
exclusions = st.just(()) | st.lists(ids, max_size=2).map(tuple)


priorities = st.integers(-1, 1)
waits_s = st.sampled_from((5.0, math.inf))


class RegistryMachine(Expected, RuleBasedStateMachine):
    """The registry and the model of it, told the same."""

    def __init__(self) -> None:
        RuleBasedStateMachine.__init__(self)
        Expected.__init__(self)
        self.directory = tempfile.TemporaryDirectory()
        self.path = Path(self.directory.name) / "registry.db"
        self.journal = Flaky(self.path)
        self.life = Life(self.journal)
        self.sessions = [1, 2, 3]
        self.latest_session = 3
        self.answered: set[Call] = set()

    # -- every step is also undone and done again --------------------------------------------------------------

    def do(self, step: Callable[[], Any]) -> Any:
        """Make a step; what it changes is reverted and restored, and then stored."""
        result = done_twice(self.life.engine, step)
        self.answered |= self.life.commit()
        return result

    def tell(self, command: c.Command, session: int = 0) -> Any:
        """The answer to a command of one of the sessions, or `WAITS`; raises its error."""
        return self.life.answer(self.do(lambda: self.life.say(command, self.sessions[session])))

    def refused(self, error: type[Exception], command: c.Command, session: int = 0) -> None:
        """A command that must be refused and change nothing."""
        before = picture(self.life.engine)
        with pytest.raises(error):
            self.tell(command, session)
        assert picture(self.life.engine) == before

    def known(self, id: str, command: c.Command, session: int = 0) -> bool:
        """Whether there is such a backend; if there is not, the command must be refused."""
        if id not in self.backends:
            self.refused(BackendNotFound, command, session)
        return id in self.backends

    @initialize(limits=st.lists(limits, min_size=1, max_size=2))
    def begin(self, limits: list[int | None]) -> None:
        for id, limit in zip(IDS, limits, strict=False):
            self.add(id, MODELS, BackendStatus.HEALTHY, limit, 1)

    # -- backends ----------------------------------------------------------------------------------------------

    def add(self, id: str, models: tuple[str, ...], status: BackendStatus, limit: int | None, weight: int) -> None:
        record = backend(id, *models, status=status, max_concurrency=limit, weight=weight)
        if id in self.backends:
            self.refused(DuplicateBackend, c.AddBackend(record))
            return
        self.tell(c.AddBackend(record))
        self.backends[id] = record
        self.changed(id, revision=-1)

    def put(
        self, id: str, models: tuple[str, ...], status: BackendStatus, limit: int | None, keep_status: bool
    ) -> None:
        record = backend(id, *models, status=status, max_concurrency=limit)
        command = c.PutBackend(record, keep_status=keep_status)
        self.refused(
            DuplicateBackend if id in self.backends else RevisionMismatch,
            msgspec.structs.replace(command, only_new=id in self.backends, expected_revision=self.revision + 1),
        )
        self.tell(command)
        if id not in self.backends:
            self.backends[id] = record
            self.changed(id, revision=-1)
            return
        before = self.backends[id]
        kept = before.status if keep_status else status
        error = before.last_error if kept is before.status else None
        fields = {**msgspec.structs.asdict(record), "status": kept, "last_error": error, "revision": before.revision}
        self.changed(id, **fields)

    def update(self, id: str, weight: int, limit: int | None, expected: int | None) -> None:
        command = c.UpdateBackend(id, weight=weight, max_concurrency=limit)
        if not self.known(id, command):
            return
        if expected is not None:
            command = msgspec.structs.replace(command, expected_revision=self.backends[id].revision + expected)
        if expected:
            self.refused(RevisionMismatch, command)
            return
        self.tell(command)
        self.changed(id, weight=weight, max_concurrency=limit)

    def remove(self, id: str) -> None:
        if not self.known(id, c.RemoveBackend(id)):
            return
        self.tell(c.RemoveBackend(id))
        self.forget_backend(id)

    def update_models(self, id: str, models: tuple[str, ...]) -> None:
        command = c.UpdateModels(id, tuple(ModelRecord(model) for model in models))
        if self.known(id, command):
            self.tell(command)
            self.changed(id, models=tuple(ModelRecord(model, name=model) for model in models))

    def update_status(self, id: str, status: BackendStatus, error: str | None) -> None:
        self.life.clock.advance(1)
        if self.known(id, c.UpdateStatus(id, status, error)):
            self.tell(c.UpdateStatus(id, status, error))
            self.changed(id, status=status, last_error=None if status is BackendStatus.HEALTHY else error)

    def drain(self, id: str, back: bool) -> None:
        """Drain a backend, and perhaps end it."""
        if self.known(id, c.DrainBackend(id)):
            self.tell(c.DrainBackend(id))
            if self.backends[id].status is not BackendStatus.DRAINING:
                self.changed(id, status=BackendStatus.DRAINING, last_error=None)
            self.settle()
            if back:
                self.tell(c.UndrainBackend(id))
                self.changed(id, status=BackendStatus.UNKNOWN, last_error=None)

    @rule(data=st.data(), id=ids, models=model_lists, status=statuses, limit=limits, weight=st.integers(1, 3))
    def configure(  # noqa: PLR0917 - hypothesis names them
        self,
        data: st.DataObject,
        id: str,
        models: tuple[str, ...],
        status: BackendStatus,
        limit: int | None,
        weight: int,
    ) -> None:
        """Change one thing of a backend. One rule for all of it: it is the traffic that needs many steps."""
        actions: list[Callable[[], None]] = [
            lambda: self.add(id, models, status, limit, weight),
            lambda: self.put(id, models, status, limit, keep_status=weight == 1),
            lambda: self.update(id, weight, limit, (None, 0, 1)[weight - 1]),
            lambda: self.update_models(id, models),
            lambda: self.update_status(id, status, (None, "x", "y")[weight - 1]),
            lambda: self.drain(id, back=weight == 1),
            lambda: self.remove(id),
        ]
        data.draw(st.sampled_from(actions))()

    # -- counts ------------------------------------------------------------------------------------------------

    def increment(self, id: str, session: int, times: int = 1) -> None:
        for _ in range(times if self.known(id, c.IncrementPending(id), session) else 0):
            expected = self.pending(id) + 1
            assert self.tell(c.IncrementPending(id), session) == expected
            self.raw[id, self.sessions[session]] += 1

    def compete(self, id: str, session: int) -> None:
        """Two sessions count, one of them more, and the third takes back."""
        for other in (1, 2):
            self.increment(id, (session + other) % 3, times=other)
            self.settle()
        self.decrement(id, session, times=2)

    def decrement(self, id: str, session: int, times: int = 1) -> None:
        own = self.sessions[session]
        for _ in range(times if self.known(id, c.DecrementPending(id), session) else 0):
            holders = [one for one in self.sessions if self.raw[id, one]]
            if holders:
                taken_from = own if own in holders else max(holders, key=lambda one: (self.raw[id, one], -one))
                self.raw[id, taken_from] -= 1
            expected = self.pending(id)
            assert self.tell(c.DecrementPending(id), session) == expected
            self.settle()

    def sample(self, id: str, latency_ms: int) -> None:
        if self.known(id, c.IncrementTotalRequests(id)):
            self.totals[id] += 1
            assert self.tell(c.IncrementTotalRequests(id)) == self.totals[id]
        if self.known(id, c.UpdateLatency(id, latency_ms)):
            self.averages[id] = moved_average(self.averages[id], latency_ms)
            assert self.tell(c.UpdateLatency(id, latency_ms)) == self.averages[id]

    @rule(data=st.data(), id=ids, session=sessions, latency_ms=latencies)
    def count(self, data: st.DataObject, id: str, session: int, latency_ms: int) -> None:
        """Count something; more is taken back than is counted, so that backends are not busy for ever."""
        actions: list[Callable[[], None]] = [
            lambda: self.increment(id, session),
            lambda: self.increment(id, session, times=2),
            lambda: self.decrement(id, session),
            lambda: self.decrement(id, session, times=3),
            lambda: self.compete(id, session),
            lambda: self.sample(id, latency_ms),
        ]
        data.draw(st.sampled_from(actions))()

    # -- leases ------------------------------------------------------------------------------------------------

    @rule(model=model_ids, session=sessions, exclude=exclusions, lease_s=st.floats(1, 50))
    def acquire(self, model: str, session: int, exclude: tuple[str, ...], lease_s: float) -> None:
        command = c.Acquire(model, exclude, lease_s)
        candidates = self.candidates(model, exclude)
        loads = self.loads(candidates)
        if not loads:
            self.refused(NoBackendAvailable if self.having(model) else ModelNotFound, command, session)
            return
        self.granted(grant_of(self.tell(command, session)), session, loads)

    def granted(self, grant: Grant, session: int, loads: dict[str, float]) -> None:
        assert loads[grant.backend] == min(loads.values())
        assert grant.id not in self.leases
        self.leases[grant.id] = grant, self.sessions[session]

    @rule(wanted=st.lists(st.tuples(model_ids, sessions, exclusions, priorities, waits_s), min_size=1, max_size=5))
    def rush(self, wanted: list[tuple[str, int, tuple[str, ...], int, float]]) -> None:
        """Several requests come at once."""
        for model, session, exclude, priority, wait_s in wanted:
            self.wait(model, session, exclude, priority, wait_s)

    def wait(self, model: str, session: int, exclude: tuple[str, ...], priority: int, wait_s: float) -> None:
        """Ask for a lease and wait for it, if there are healthy backends and all are busy."""
        deadline_s = self.life.clock.monotonic() + wait_s
        command = c.Acquire(model, exclude, wait=True, priority=priority)
        candidates = self.candidates(model, exclude)
        if not candidates:
            self.refused(NoBackendAvailable if self.having(model) else ModelNotFound, command, session)
            return
        loads = self.loads(candidates)
        call = self.do(lambda: self.life.say(command, self.sessions[session], deadline_s))
        answer = self.life.answer(call)
        if loads:
            self.granted(grant_of(answer), session, loads)
        else:
            assert answer is WAITS
            self.waiting[call] = Waiting(model, exclude, priority, deadline_s)

    @precondition(lambda self: self.waiting)
    @rule(data=st.data())
    def cancel(self, data: st.DataObject) -> None:
        call = data.draw(st.sampled_from(sorted(self.waiting)))
        self.do(lambda: self.life.engine.cancel(*call))
        del self.waiting[call]

    @precondition(lambda self: self.leases)
    @rule(data=st.data(), outcome=st.sampled_from(Outcome), latency_ms=st.none() | latencies)
    def release(self, data: st.DataObject, outcome: Outcome, latency_ms: int | None) -> None:
        id = data.draw(st.sampled_from(sorted(self.leases)))
        grant, holder = self.leases[id]
        command = c.Release(id, outcome, latency_ms)
        for session, number in enumerate(self.sessions):
            if number != holder:
                self.refused(LeaseNotFound, command, session)
        self.tell(command, self.sessions.index(holder))
        del self.leases[id]
        if grant.backend in self.backends:
            self.totals[grant.backend] += 1
            if outcome is Outcome.OK and latency_ms is not None:
                self.averages[grant.backend] = moved_average(self.averages[grant.backend], latency_ms)
        self.refused(LeaseNotFound, command, self.sessions.index(holder))

    @precondition(lambda self: self.leases)
    @rule(data=st.data(), session=sessions)
    def force_release(self, data: st.DataObject, session: int) -> None:
        id = data.draw(st.sampled_from(sorted(self.leases)))
        self.tell(c.ForceRelease(id), session)
        del self.leases[id]
        self.refused(LeaseNotFound, c.ForceRelease(id), session)

    # -- events ------------------------------------------------------------------------------------------------

    @rule(session=sessions)
    def session_ends(self, session: int) -> None:
        """A worker process dies, and another one comes."""
        gone = self.sessions[session]
        self.do(lambda: self.life.engine.end(gone))
        self.forget_session(gone)
        self.latest_session += 1
        self.sessions[session] = self.latest_session
        self.life.join(self.latest_session)

    @rule(seconds=st.floats(0, 30))
    def time_passes(self, seconds: float) -> None:
        self.life.clock.advance(seconds)
        self.do(self.life.engine.tick)
        now_s = self.life.clock.monotonic()
        for call in [call for call, waiting in self.waiting.items() if waiting.deadline_s < now_s]:
            with pytest.raises(CallTimeout):
                self.life.answer(call)
            del self.waiting[call]
        self.leases = {id: held for id, held in self.leases.items() if held[0].deadline_s > now_s}

    @rule(data=st.data(), id=ids, session=sessions)
    def a_batch_fails(self, data: st.DataObject, id: str, session: int) -> None:
        """Nothing of an atomic batch remains if its last command is refused, and nobody is served by it."""
        commands: list[c.Command] = [
            c.PutBackend(backend(id, *MODELS), keep_status=False),
            c.UpdateBackend(id, weight=3, max_concurrency=None),
            c.IncrementPending(id),
            c.Acquire("m"),
            c.DrainBackend(id),
            c.RemoveBackend(id),
            *(c.ForceRelease(lease) for lease in self.leases),
        ]
        chosen = data.draw(st.lists(st.sampled_from(commands), max_size=4))
        before = picture(self.life.engine)
        call = self.do(lambda: self.life.say_batch([*chosen, c.Release(2**60)], self.sessions[session], atomic=True))
        with pytest.raises((LeaseNotFound, BackendNotFound, NoBackendAvailable, ModelNotFound)):
            self.life.answer(call)
        assert picture(self.life.engine) == before

    @rule(id=ids, session=sessions)
    def the_disk_is_full(self, id: str, session: int) -> None:
        """What must be stored is refused, and nobody was served by it; what need not be stored is done."""
        record = backend(id, *MODELS, priority=self.revision + 1)
        number = self.sessions[session]
        self.journal.fails = True
        calls = self.do(
            lambda: (
                self.life.say(c.PutBackend(record, keep_status=False), number),
                self.life.say(c.IncrementPending(id), number),
            )
        )
        self.journal.fails = False
        with pytest.raises(StorageUnavailable):
            self.life.answer(calls[0])
        if id in self.backends:
            self.raw[id, number] += 1
            assert self.life.answer(calls[1]) == self.pending(id)
        else:
            with pytest.raises(BackendNotFound):
                self.life.answer(calls[1])

    @rule()
    def the_owner_dies(self) -> None:
        """The next owner has the same state, from the journal and the session log, down to what is derived."""
        before = picture(self.life.engine)
        self.journal.close()
        self.journal = Flaky(self.path)
        self.life.next_owner(self.journal)
        assert picture(self.life.engine) == before

    @rule()
    def the_machine_goes_down(self) -> None:
        """A second after its last count, totals and averages are there again; sessions and what they held are not."""
        self.time_passes(1.0)
        self.settle()
        before = picture(self.life.engine).rows
        self.journal.close()
        self.journal = Flaky(self.path)
        self.life.next_system(self.journal)
        after = picture(self.life.engine).rows
        assert {name: rows for name, rows in after.items() if rows} == {
            name: before[name] for name in ("backends", "counters") if before[name]
        }
        for session in self.sessions:
            self.forget_session(session)
        self.sessions = [self.latest_session + number for number in (1, 2, 3)]
        self.latest_session += 3
        for session in self.sessions:
            self.life.join(session)

    # -- what must hold after each of them ---------------------------------------------------------------------

    def settle(self) -> None:
        """Whoever has waited and was answered now was rightly so, and before whom it was right to."""
        settled = {call: self.waiting.pop(call) for call in self.answered & self.waiting.keys()}
        self.answered.clear()
        grants = []
        for call, waiting in settled.items():
            candidates = self.candidates(waiting.model, waiting.exclude)
            if not candidates:
                with pytest.raises(NoBackendAvailable if self.having(waiting.model) else ModelNotFound):
                    self.life.answer(call)
                continue
            grant = grant_of(self.life.answer(call))
            assert grant.backend in candidates
            self.leases[grant.id] = grant, call[0]
            grants.append((call, waiting, grant.backend))
        for call, served, id in grants:
            limit = self.backends[id].max_concurrency
            assert limit is None or self.pending(id) <= limit
            for other, left in self.waiting.items():
                if id in self.candidates(left.model, left.exclude):
                    assert served.priority <= left.priority
                    if (other[0], left.model, left.priority) == (call[0], served.model, served.priority):
                        assert call < other

    @invariant()
    def everything_agrees(self) -> None:
        self.settle()
        engine = self.life.engine
        assert picture(engine) == rebuilt(engine)
        assert engine.turn.revision == self.revision
        self.check_line()
        self.check_backends()
        held = {one.id: one.session for one in self.life.actor.leases.held(None, 0.0, str)}
        assert held == {id: session for id, (_, session) in self.leases.items()}
        assert dict(self.life.actor.backends.pending.raw.items()) == +self.raw

    def check_line(self) -> None:
        """Nobody waits who could be served, or for whom nothing is left."""
        assert {call for call, _ in self.life.actor.line.records.items()} == set(self.waiting)
        assert {call for call, _ in self.life.engine._waiting.items()} == set(self.waiting)
        for waiting in self.waiting.values():
            candidates = self.candidates(waiting.model, waiting.exclude)
            assert candidates
            assert all(self.is_full(id) for id in candidates)

    def check_backends(self) -> None:
        found = {state.record.id: state for state in self.life.backends()}
        assert set(found) == set(self.backends)
        for id, state in found.items():
            counted = state.pending_requests, state.total_requests, state.avg_latency_ms
            assert counted == (self.pending(id), self.totals[id], self.averages[id])
            assert msgspec.structs.replace(state.record, last_health_check_s=0.0) == self.backends[id]
        for model in MODELS:
            ids = [state.record.id for state in self.life.actor.backends.states(model, None)]
            assert len(ids) == len(set(ids))
            assert set(ids) == self.having(model)
        assert self.life.actor.backends.model_count() == sum(bool(self.having(model)) for model in MODELS)

    def teardown(self) -> None:
        """When everybody has left, nothing is in flight and nothing is left of them, here and in the next life."""
        for session in self.sessions:
            self.life.end(session)
        self.the_owner_dies()
        actor = self.life.actor
        for table in (actor.leases.records, actor.line.records, actor.backends.pending.raw):
            assert not len(table)
        assert not picture(self.life.engine).derived["pending"]
        self.journal.close()
        self.directory.cleanup()


TestRegistryMachine = RegistryMachine.TestCase
TestRegistryMachine.settings = settings(max_examples=80, stateful_step_count=50, deadline=None)
