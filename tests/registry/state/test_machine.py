"""Any sequence of commands of any sessions, beside a model of the registry that is too simple to be wrong."""

from __future__ import annotations

import math
import tempfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from actors.errors import CallTimeout, StorageUnavailable
from actors.tables import revert
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
from registry.state.records import BackendRecord, Grant, ModelRecord
from tests.registry.state.driver import backend
from tests.registry.state.lives import WAITS, Call, Life, grant_of
from tests.registry.state.pictures import picture, rebuilt
from tests.registry.stores.journals import Flaky

IDS = ("a", "b", "c")
MODELS = ("m", "n")

ids = st.sampled_from(IDS)
model_ids = st.sampled_from(("m", "m", "n"))
sessions = st.integers(0, 2)
statuses = st.sampled_from((BackendStatus.HEALTHY, BackendStatus.HEALTHY, *BackendStatus))
model_lists = st.sampled_from((("m",), ("m", "n"), ("n",), ("m", "m"), ()))
limits = st.sampled_from((1, 1, 2, None))
latencies = st.integers(0, 1_000)
exclusions = st.lists(ids, max_size=2).map(tuple)


class Waiting(NamedTuple):
    """A request that waits, as the model knows it."""

    model: str
    exclude: tuple[str, ...]
    priority: int
    deadline_s: float


class RegistryMachine(RuleBasedStateMachine):
    """The registry and the model of it, told the same."""

    def __init__(self) -> None:
        super().__init__()
        self.directory = tempfile.TemporaryDirectory()
        self.path = Path(self.directory.name) / "registry.db"
        self.journal = Flaky(self.path)
        self.life = Life(self.journal)
        self.sessions = [1, 2, 3]
        self.latest_session = 3
        self.answered: set[Call] = set()
        # The model: backends as they should be, raw increments by (backend, session), leases by number.
        self.revision = 0
        self.backends: dict[str, BackendRecord] = {}
        self.raw: Counter[tuple[str, int]] = Counter()
        self.leases: dict[int, tuple[Grant, int]] = {}
        self.waiting: dict[Call, Waiting] = {}
        self.totals: Counter[str] = Counter()
        self.averages: Counter[str] = Counter()

    # -- every step is also undone and done again --------------------------------------------------------------

    def do(self, step: Callable[[], Any]) -> Any:
        """Make a step; what it changes is reverted and restored, and then stored."""
        engine = self.life.engine
        before = picture(engine)
        result = step()
        changes = list(engine.turn._changes)
        after = picture(engine)
        revert(changes)
        assert picture(engine) == before
        for change in changes:
            change.table.restore(change.key, change.after)
        assert picture(engine) == after
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

    def changed(self, id: str, /, **fields: Any) -> None:
        """Fields of a backend are these from now on; if that is a change it takes a revision."""
        before = self.backends[id]
        after = msgspec.structs.replace(before, **fields)
        if after != before:
            self.revision += 1
            self.backends[id] = msgspec.structs.replace(after, revision=self.revision)

    # -- backends ----------------------------------------------------------------------------------------------

    @rule(id=ids, models=model_lists, status=statuses, limit=limits, weight=st.integers(1, 3))
    def add(self, id: str, models: tuple[str, ...], status: BackendStatus, limit: int | None, weight: int) -> None:
        record = backend(id, *models, status=status, max_concurrency=limit, weight=weight)
        if id in self.backends:
            self.refused(DuplicateBackend, c.AddBackend(record))
            return
        self.tell(c.AddBackend(record))
        self.backends[id] = record
        self.changed(id, revision=-1)

    @rule(id=ids, models=model_lists, status=statuses, limit=limits, keep_status=st.booleans())
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

    @rule(id=ids, weight=st.integers(1, 3), limit=limits, expected=st.sampled_from((None, 0, 1)))
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

    @rule(id=ids)
    def remove(self, id: str) -> None:
        if not self.known(id, c.RemoveBackend(id)):
            return
        self.tell(c.RemoveBackend(id))
        del self.backends[id]
        del self.totals[id], self.averages[id]
        for key in [key for key in self.raw if key[0] == id]:
            del self.raw[key]
        self.revision += 1

    @rule(id=ids, models=model_lists)
    def update_models(self, id: str, models: tuple[str, ...]) -> None:
        command = c.UpdateModels(id, tuple(ModelRecord(model) for model in models))
        if self.known(id, command):
            self.tell(command)
            self.changed(id, models=tuple(ModelRecord(model, name=model) for model in models))

    @rule(id=ids, status=statuses, error=st.sampled_from((None, "x", "y")))
    def update_status(self, id: str, status: BackendStatus, error: str | None) -> None:
        self.life.clock.advance(1)
        if self.known(id, c.UpdateStatus(id, status, error)):
            self.tell(c.UpdateStatus(id, status, error))
            self.changed(id, status=status, last_error=None if status is BackendStatus.HEALTHY else error)

    @rule(id=ids)
    def drain(self, id: str) -> None:
        if self.known(id, c.DrainBackend(id)):
            self.tell(c.DrainBackend(id))
            if self.backends[id].status is not BackendStatus.DRAINING:
                self.changed(id, status=BackendStatus.DRAINING, last_error=None)

    @rule(id=ids)
    def undrain(self, id: str) -> None:
        if self.known(id, c.UndrainBackend(id)):
            self.tell(c.UndrainBackend(id))
            if self.backends[id].status is BackendStatus.DRAINING:
                self.changed(id, status=BackendStatus.UNKNOWN, last_error=None)

    # -- counts ------------------------------------------------------------------------------------------------

    @rule(id=ids, session=sessions)
    def increment(self, id: str, session: int) -> None:
        if self.known(id, c.IncrementPending(id), session):
            expected = self.pending(id) + 1
            assert self.tell(c.IncrementPending(id), session) == expected
            self.raw[id, self.sessions[session]] += 1

    @rule(id=ids, session=sessions)
    def decrement(self, id: str, session: int) -> None:
        if not self.known(id, c.DecrementPending(id), session):
            return
        own = self.sessions[session]
        holders = [one for one in self.sessions if self.raw[id, one]]
        if holders:
            taken_from = own if own in holders else max(holders, key=lambda one: (self.raw[id, one], -one))
            self.raw[id, taken_from] -= 1
        expected = self.pending(id)
        assert self.tell(c.DecrementPending(id), session) == expected

    @rule(id=ids)
    def count(self, id: str) -> None:
        if self.known(id, c.IncrementTotalRequests(id)):
            self.totals[id] += 1
            assert self.tell(c.IncrementTotalRequests(id)) == self.totals[id]

    @rule(id=ids, latency_ms=latencies)
    def sample(self, id: str, latency_ms: int) -> None:
        if self.known(id, c.UpdateLatency(id, latency_ms)):
            self.averages[id] = moved_average(self.averages[id], latency_ms)
            assert self.tell(c.UpdateLatency(id, latency_ms)) == self.averages[id]

    # -- leases ------------------------------------------------------------------------------------------------

    @rule(model=model_ids, session=sessions, exclude=exclusions, lease_s=st.floats(1, 50))
    def acquire(self, model: str, session: int, exclude: tuple[str, ...], lease_s: float) -> None:
        command = c.Acquire(model, exclude, lease_s)
        candidates = self.candidates(model, exclude)
        free = [id for id in candidates if not self.is_full(id)]
        if not free:
            self.refused(NoBackendAvailable if self.having(model) else ModelNotFound, command, session)
            return
        loads = {id: self.pending(id) / self.backends[id].weight for id in free}
        self.granted(grant_of(self.tell(command, session)), session, loads)

    def granted(self, grant: Grant, session: int, loads: dict[str, float]) -> None:
        assert loads[grant.backend] == min(loads.values())
        assert grant.id not in self.leases
        self.leases[grant.id] = grant, self.sessions[session]

    @rule(
        model=model_ids,
        session=sessions,
        exclude=exclusions,
        priority=st.integers(-1, 1),
        wait_s=st.sampled_from((5.0, math.inf)),
    )
    def wait(self, model: str, session: int, exclude: tuple[str, ...], priority: int, wait_s: float) -> None:
        """Ask for a lease and wait for it, if there are healthy backends and all are busy."""
        deadline_s = self.life.clock.monotonic() + wait_s
        command = c.Acquire(model, exclude, wait=True, priority=priority)
        candidates = self.candidates(model, exclude)
        if not candidates:
            self.refused(NoBackendAvailable if self.having(model) else ModelNotFound, command, session)
            return
        loads = {id: self.pending(id) / self.backends[id].weight for id in candidates if not self.is_full(id)}
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
        self.waiting = {call: waiting for call, waiting in self.waiting.items() if call[0] != gone}
        self.leases = {id: held for id, held in self.leases.items() if held[1] != gone}
        for id in IDS:
            del self.raw[id, gone]
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

    # -- what must hold after each of them ---------------------------------------------------------------------

    def having(self, model: str) -> set[str]:
        return {id for id, record in self.backends.items() if any(one.id == model for one in record.models)}

    def candidates(self, model: str, exclude: tuple[str, ...]) -> set[str]:
        return {id for id in self.having(model) - {*exclude} if self.backends[id].status is BackendStatus.HEALTHY}

    def pending(self, id: str) -> int:
        raw = sum(count for (of, _), count in self.raw.items() if of == id)
        return raw + sum(grant.backend == id for grant, _ in self.leases.values())

    def is_full(self, id: str) -> bool:
        limit = self.backends[id].max_concurrency
        return limit is not None and self.pending(id) >= limit

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
                if left.model == served.model and id in self.candidates(left.model, left.exclude):
                    assert (served.priority, other[0] == call[0] and call[1]) <= (
                        left.priority,
                        other[0] == call[0] and other[1],
                    )

    @invariant()
    def everything_agrees(self) -> None:
        self.settle()
        engine = self.life.engine
        assert picture(engine) == rebuilt(engine)
        assert engine.turn.revision == self.revision
        self.check_line()
        self.check_backends()
        held = {one.id: one.session for one in self.life.actor.leases.held(None, 0.0)}
        assert held == {id: session for id, (_, session) in self.leases.items()}

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
TestRegistryMachine.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
