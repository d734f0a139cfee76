"""Any sequence of commands, beside a model of the state that is too simple to be wrong."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from actors.tables import Change, Table, revert
from registry import commands as c
from registry.errors import BackendNotFound, DuplicateBackend, LeaseNotFound, ModelNotFound, NoBackendAvailable
from registry.kinds import BackendStatus, Outcome
from registry.owner import RegistryActor
from registry.state.backends import moved_average
from registry.state.records import BackendRecord, Grant, ModelRecord
from tests.registry.state.driver import State, backend

IDS = ("a", "b", "c")
MODELS = ("m", "n", "o")
SESSIONS = (1, 2, 3)

ids = st.sampled_from(IDS)
model_ids = st.sampled_from(MODELS)
sessions = st.sampled_from(SESSIONS)
statuses = st.sampled_from((BackendStatus.HEALTHY, BackendStatus.HEALTHY, *BackendStatus))
model_lists = st.lists(model_ids, max_size=4).map(tuple)
latencies = st.integers(0, 1_000)


def rows_of(actor: RegistryActor) -> dict[str, dict[Any, Any]]:
    """All tables. The order of rows is not part of a state's meaning."""
    return {table.name: dict(table.items()) for table in actor.tables}


def derived_from(actor: RegistryActor) -> dict[str, Any]:
    """All that is kept beside the tables."""
    backends = actor.backends
    return {
        "pending": dict(backends.pending._counts),
        "by_model": {model: set(having) for model, having in backends._by_model.items()},
        "routable": {model: set(ids) for model, ids in backends.choice.routable.items()},
        "loads": {id: load for id, (load, _) in backends.choice.ranks.items()},
        "raw_of_session": {session: set(of) for session, of in backends.pending._of_session.items()},
        "raw_of_backend": {id: set(of) for id, of in backends.pending._of_backend.items()},
        "leases_of_session": {session: set(of) for session, of in actor.leases._of_session.items()},
    }


class Storage:
    """What outlives an owner: durable rows as JSON, the other changes as MessagePack, in order of their arrival."""

    def __init__(self) -> None:
        self.durable: dict[tuple[str, bytes], bytes] = {}
        self.volatile: list[bytes] = []

    def store(self, changes: list[Change]) -> None:
        for change in changes:
            if not change.table.durable:
                self.volatile.append(msgspec.msgpack.encode((change.table.name, change.key, change.after)))
                continue
            place = change.table.name, msgspec.json.encode(change.key)
            if change.after is None:
                del self.durable[place]
            else:
                self.durable[place] = msgspec.json.encode(change.after)

    def restored(self) -> RegistryActor:
        """A new actor with what was stored."""
        actor = RegistryActor()
        tables = {table.name: table for table in actor.tables}
        for (name, key), record in self.durable.items():
            _restore(tables[name], msgspec.json.decode(key), msgspec.json.decode(record))
        for packed in self.volatile:
            name, key, record = msgspec.msgpack.decode(packed)
            _restore(tables[name], key, record)
        return actor


def _restore(table: Table[Any, Any], key: Any, record: Any) -> None:
    table.restore(table.decode_key(key), None if record is None else table.decode_record(record))


class RegistryMachine(RuleBasedStateMachine):
    """The registry and the model of it, told the same."""

    def __init__(self) -> None:
        super().__init__()
        self.state = State()
        self.storage = Storage()
        # The model: backends as they should be, raw increments by (backend, session), leases by number.
        self.backends: dict[str, BackendRecord] = {}
        self.raw: Counter[tuple[str, int]] = Counter()
        self.leases: dict[int, tuple[Grant, int]] = {}
        self.totals: Counter[str] = Counter()
        self.averages: Counter[str] = Counter()

    # -- every step is also undone and done again, and stored --------------------------------------------------

    def do(self, step: Callable[[], Any]) -> Any:
        """Make a step; its changes are reverted and restored, and then stored."""
        actor = self.state.actor
        before = rows_of(actor), derived_from(RestoredCopy(actor).actor)
        try:
            return step()
        finally:
            changes = list(self.state.changes)
            after = rows_of(actor)
            revert(changes)
            assert (rows_of(actor), derived_from(RestoredCopy(actor).actor)) == before
            assert derived_from(actor) == before[1]
            for change in changes:
                change.table.restore(change.key, change.after)
            assert rows_of(actor) == after
            self.storage.store(changes)
            self.state.changes.clear()

    def apply(self, command: c.Command, session: int = 1) -> Any:
        return self.do(lambda: self.state.apply(command, session))

    def refused(self, error: type[Exception], command: c.Command, session: int = 1) -> None:
        """A command that must be refused and change nothing."""
        rows = rows_of(self.state.actor)
        with pytest.raises(error):
            self.apply(command, session)
        assert rows_of(self.state.actor) == rows

    def known(self, id: str, command: c.Command, session: int = 1) -> bool:
        """Whether there is such a backend; if there is not, the command must be refused."""
        if id not in self.backends:
            self.refused(BackendNotFound, command, session)
        return id in self.backends

    # -- what can happen ---------------------------------------------------------------------------------------

    @rule(id=ids, models=model_lists, status=statuses)
    def add(self, id: str, models: tuple[str, ...], status: BackendStatus) -> None:
        record = backend(id, *models, status=status)
        if id in self.backends:
            self.refused(DuplicateBackend, c.AddBackend(record))
            return
        self.apply(c.AddBackend(record))
        self.backends[id] = record

    @rule(id=ids)
    def remove(self, id: str) -> None:
        if not self.known(id, c.RemoveBackend(id)):
            return
        expected = self.pending(id)
        assert self.apply(c.RemoveBackend(id)).pending_requests == expected
        del self.backends[id]
        del self.totals[id], self.averages[id]
        for key in [key for key in self.raw if key[0] == id]:
            del self.raw[key]

    @rule(id=ids, models=model_lists)
    def update_models(self, id: str, models: tuple[str, ...]) -> None:
        records = tuple(ModelRecord(model) for model in models)
        if self.known(id, c.UpdateModels(id, records)):
            self.apply(c.UpdateModels(id, records))
            named = tuple(ModelRecord(model, name=model) for model in models)
            self.backends[id] = msgspec.structs.replace(self.backends[id], models=named)

    @rule(id=ids, status=statuses, error=st.sampled_from((None, "x", "y")))
    def update_status(self, id: str, status: BackendStatus, error: str | None) -> None:
        self.state.now_s += 1
        if self.known(id, c.UpdateStatus(id, status, error)):
            self.apply(c.UpdateStatus(id, status, error))
            kept = None if status is BackendStatus.HEALTHY else error
            self.backends[id] = msgspec.structs.replace(self.backends[id], status=status, last_error=kept)

    @rule(id=ids, session=sessions)
    def increment(self, id: str, session: int) -> None:
        if self.known(id, c.IncrementPending(id), session):
            expected = self.pending(id) + 1
            assert self.apply(c.IncrementPending(id), session) == expected
            self.raw[id, session] += 1

    @rule(id=ids, session=sessions)
    def decrement(self, id: str, session: int) -> None:
        if not self.known(id, c.DecrementPending(id), session):
            return
        holders = [one for one in SESSIONS if self.raw[id, one]]
        if holders:
            taken_from = session if session in holders else max(holders, key=lambda one: (self.raw[id, one], -one))
            self.raw[id, taken_from] -= 1
        assert self.apply(c.DecrementPending(id), session) == self.pending(id)

    @rule(id=ids)
    def count(self, id: str) -> None:
        if self.known(id, c.IncrementTotalRequests(id)):
            self.totals[id] += 1
            assert self.apply(c.IncrementTotalRequests(id)) == self.totals[id]

    @rule(id=ids, latency_ms=latencies)
    def sample(self, id: str, latency_ms: int) -> None:
        if self.known(id, c.UpdateLatency(id, latency_ms)):
            self.averages[id] = moved_average(self.averages[id], latency_ms)
            assert self.apply(c.UpdateLatency(id, latency_ms)) == self.averages[id]

    @rule(model=model_ids, session=sessions, exclude=st.lists(ids, max_size=2).map(tuple), lease_s=st.floats(1, 50))
    def acquire(self, model: str, session: int, exclude: tuple[str, ...], lease_s: float) -> None:
        command = c.Acquire(model, exclude, lease_s)
        having = self.having(model)
        free = {id for id in having - set(exclude) if self.backends[id].status is BackendStatus.HEALTHY}
        if not free:
            self.refused(NoBackendAvailable if having else ModelNotFound, command, session)
            return
        fewest = min(self.pending(id) for id in free)
        grant = self.apply(command, session)
        assert grant.backend in free
        assert self.pending(grant.backend) == fewest
        assert grant.id not in self.leases
        self.leases[grant.id] = grant, session

    @precondition(lambda self: self.leases)
    @rule(data=st.data(), session=sessions, outcome=st.sampled_from(Outcome), latency_ms=st.none() | latencies)
    def release(self, data: st.DataObject, session: int, outcome: Outcome, latency_ms: int | None) -> None:
        grant, holder = self.leases[data.draw(st.sampled_from(sorted(self.leases)))]
        command = c.Release(grant.id, outcome, latency_ms)
        if session != holder:
            self.refused(LeaseNotFound, command, session)
        self.apply(command, holder)
        del self.leases[grant.id]
        if grant.backend in self.backends:
            self.totals[grant.backend] += 1
            if outcome is Outcome.OK and latency_ms is not None:
                self.averages[grant.backend] = moved_average(self.averages[grant.backend], latency_ms)
        self.refused(LeaseNotFound, command, holder)

    @rule(session=sessions)
    def end_session(self, session: int) -> None:
        self.do(lambda: self.state.end_session(session))
        self.leases = {id: held for id, held in self.leases.items() if held[1] != session}
        for id in IDS:
            del self.raw[id, session]

    @rule(seconds=st.floats(0, 30))
    def time_passes(self, seconds: float) -> None:
        self.state.now_s += seconds
        self.do(self.state.tick)
        self.leases = {id: held for id, held in self.leases.items() if held[0].deadline_s > self.state.now_s}

    @rule()
    def owner_is_replaced(self) -> None:
        """The next owner has the same state, down to what is derived from it."""
        before = self.state
        self.state = State(epoch=before.epoch + 1)
        self.state.now_s = before.now_s
        self.state.actor = self.storage.restored()
        for table in self.state.actor.tables:
            table.changes = self.state.changes
        assert rows_of(self.state.actor) == rows_of(before.actor)
        assert derived_from(self.state.actor) == derived_from(before.actor)

    # -- what must hold after each of them ---------------------------------------------------------------------

    def having(self, model: str) -> set[str]:
        return {id for id, record in self.backends.items() if any(one.id == model for one in record.models)}

    def pending(self, id: str) -> int:
        raw = sum(count for (of, _), count in self.raw.items() if of == id)
        return raw + sum(grant.backend == id for grant, _ in self.leases.values())

    @invariant()
    def counts_are_those_of_the_model(self) -> None:
        assert set(self.state.ids()) == set(self.backends)
        for id in self.backends:
            found = self.state.get(id)
            counted = found.pending_requests, found.total_requests, found.avg_latency_ms
            assert counted == (self.pending(id), self.totals[id], self.averages[id])
            kept = msgspec.structs.replace(found.record, last_health_check_s=0.0, revision=0)
            assert kept == self.backends[id]

    @invariant()
    def index_is_that_of_the_model(self) -> None:
        for model in MODELS:
            found = self.state.ids(model)
            assert len(found) == len(set(found))
            assert set(found) == self.having(model)
        assert self.state.apply(c.CountAll()) == (
            len(self.backends),
            sum(bool(self.having(model)) for model in MODELS),
        )

    @invariant()
    def derived_state_is_as_if_rebuilt(self) -> None:
        assert derived_from(self.state.actor) == derived_from(RestoredCopy(self.state.actor).actor)

    @invariant()
    def leases_are_those_of_the_model(self) -> None:
        held = {one.id: one.session for one in self.state.apply(c.GetLeases())}
        assert held == {id: session for id, (_, session) in self.leases.items()}

    def teardown(self) -> None:
        """When everybody has left, nothing is in flight and nothing is left of them."""
        for session in SESSIONS:
            self.end_session(session)
        actor = self.state.actor
        assert not len(actor.leases.records)
        assert not len(actor.backends.pending.raw)
        assert not actor.backends.pending._counts


class RestoredCopy:
    """An actor with the same rows, for which everything derived was worked out anew."""

    def __init__(self, actor: RegistryActor) -> None:
        self.actor = RegistryActor()
        for table, copy in zip(actor.tables, self.actor.tables, strict=True):
            for key, record in table.items():
                copy.restore(key, record)


TestRegistryMachine = RegistryMachine.TestCase
TestRegistryMachine.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
