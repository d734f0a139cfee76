"""Backends: what they are, which models they have, how busy they are."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from heapq import nsmallest
from typing import Any

import msgspec
from msgspec import UNSET

from actors.tables import Table
from registry.errors import BackendNotFound, DuplicateBackend, InvalidField, RevisionMismatch
from registry.kinds import BackendStatus, BackendType, Connection
from registry.state.choice import Choice
from registry.state.index import Index, move
from registry.state.pending import Pending
from registry.state.records import BackendRecord, BackendState, CountersRecord, ModelRecord
from registry.urls import normalise_url, server_key

_NOTHING_COUNTED = CountersRecord()


class Backends:
    """The tables of backends, and what is derived from them.

    What changes a backend takes the revision that the change will have.

    Attributes:
        pending: Requests in flight.
        choice: Which backends may be given requests.
        servers: Ids of the backends of each server, by `registry.urls.server_key`.
        stirred: Those that came or went, or have another status or address, since health has looked at them.
    """

    def __init__(self) -> None:
        self.records = Table("backends", str, BackendRecord, durable=True, on_change=self._backend_changed)
        self.counters = Table("counters", str, CountersRecord, durable=False, saved=True)
        counts: dict[str, int] = {}
        self.choice = Choice(self.records, counts)
        self.pending = Pending(counts, self.choice.pending_changed)
        self.tables = (self.records, self.counters, self.pending.raw)
        self.stirred: set[str] = set()
        self._by_model: Index = {}
        self.servers: Index = {}

    # -- what is derived -------------------------------------------------------------------------------------

    def _backend_changed(self, id: str, before: BackendRecord | None, after: BackendRecord | None) -> None:
        self.choice.backend_changed(id, before, after)
        if before is None or after is None or _probed_as(before) != _probed_as(after):
            self.stirred.add(id)
        if before is None or after is None or before.models is not after.models:
            move(self._by_model, id, _model_ids(before), _model_ids(after))
        if before is None or after is None or before.url != after.url:
            move(self.servers, id, _servers(before), _servers(after))

    # -- reading ---------------------------------------------------------------------------------------------

    def require(self, id: str) -> BackendRecord:
        """The record of a backend; raises `BackendNotFound`."""
        record = self.records.get(id)
        if record is None:
            raise BackendNotFound(id)
        return record

    def state(self, id: str) -> BackendState | None:
        """A backend with its counts, or None."""
        record = self.records.get(id)
        return None if record is None else self._state(record)

    def _state(self, record: BackendRecord) -> BackendState:
        counters = self._counters(record.id)
        if counters.last_health_check_s > record.last_health_check_s:
            record = msgspec.structs.replace(record, last_health_check_s=counters.last_health_check_s)
        return BackendState(record, self.pending.of(record.id), counters.total_requests, counters.avg_latency_ms)

    def _counters(self, id: str) -> CountersRecord:
        return self.counters.get(id) or _NOTHING_COUNTED

    def _having(self, model: str | None) -> Iterable[BackendRecord]:
        """The backends that have a model, in the order in which they came to have it; all of them for None."""
        return self.records.values() if model is None else map(self.require, self._by_model.get(model, ()))

    def states(self, model: str | None, status: BackendStatus | None) -> list[BackendState]:
        """The backends that have a model and are in a status."""
        return [self._state(record) for record in self._having(model) if status is None or record.status is status]

    def listing(
        self,
        model: str | None,
        status: BackendStatus | None,
        backend_type: BackendType | None,
        labels: Mapping[str, str],
    ) -> Iterator[BackendState]:
        """The backends that are all of what is given."""
        wanted = labels.items()
        for record in self._having(model):
            if (
                (status is None or record.status is status)
                and (backend_type is None or record.backend_type is backend_type)
                and wanted <= record.labels.items()
            ):
                yield self._state(record)

    def is_known(self, model: str) -> bool:
        """Whether any backend has a model."""
        return model in self._by_model

    def healthy_models(self) -> list[str]:
        """Ids of the models that healthy backends have, sorted."""
        return sorted(self.choice.routable)

    def some_healthy_models(self, most: int) -> list[str]:
        """The first of them."""
        return nsmallest(most, self.choice.routable)

    def model_count(self) -> int:
        """Number of distinct models of all backends."""
        return len(self._by_model)

    def has_url(self, url: str) -> bool:
        """Whether a backend has this URL."""
        url = normalise_url(url)
        return any(record.url == url for record in self.records.values())

    # -- configuration ---------------------------------------------------------------------------------------

    def add(self, record: BackendRecord, revision: int, now_s: float) -> None:
        """Add a backend; raises `DuplicateBackend` or `InvalidField`."""
        if record.id in self.records:
            raise DuplicateBackend(record.id)
        if record.id in self.counters:  # left over by one that was removed as the machine went down
            self.counters.delete(record.id)
        checked_s = record.last_health_check_s or now_s
        self.records.put(
            record.id, msgspec.structs.replace(_normal(record), last_health_check_s=checked_s, revision=revision)
        )

    def put(self, record: BackendRecord, revision: int, now_s: float, *, keep_status: bool) -> BackendState:
        """Add a backend or replace its configuration; raises `InvalidField`."""
        present = self.records.get(record.id)
        if present is None:
            self.add(record, revision, now_s)
        else:
            status = present.status if keep_status else record.status
            if status is present.status:
                record = msgspec.structs.replace(
                    record,
                    status=status,
                    last_error=present.last_error,
                    last_health_check_s=present.last_health_check_s,
                )
            else:
                record = msgspec.structs.replace(record, last_error=None, last_health_check_s=now_s)
            self._change(present, _normal(record), revision)
        return self._state(self.require(record.id))

    def update(self, id: str, revision: int, **values: Any) -> BackendState:
        """Change what is not `UNSET`; raises `BackendNotFound`."""
        record = self.require(id)
        given = {field: value for field, value in values.items() if value is not UNSET}
        self._change(record, msgspec.structs.replace(record, **given), revision)
        return self._state(self.require(id))

    def update_models(self, id: str, models: tuple[ModelRecord, ...], revision: int) -> None:
        """Replace all models of a backend at once."""
        record = self.require(id)
        self._change(record, msgspec.structs.replace(record, models=_named(models)), revision)

    def learn_models(self, id: str, models: tuple[ModelRecord, ...], revision: int) -> None:
        """Replace the models by what a probe has found; in another order, or named twice, they are the same."""
        found: dict[str, ModelRecord] = {}
        for model in _named(models):
            found.setdefault(model.id, model)
        if found != {model.id: model for model in self.require(id).models}:
            self.update_models(id, tuple(found.values()), revision)

    def _change(self, before: BackendRecord, after: BackendRecord, revision: int) -> None:
        """Note a durable change, unless it changes nothing."""
        after = msgspec.structs.replace(after, revision=before.revision)
        if after != before:
            self.records.put(before.id, msgspec.structs.replace(after, revision=revision))

    def remove(self, id: str) -> BackendState:
        """Remove a backend and what is counted of it; leases on it go on until they are given back."""
        removed = self._state(self.require(id))
        self.records.delete(id)
        if id in self.counters:
            self.counters.delete(id)
        self.pending.forget(id)
        self.choice.forget(id)
        return removed

    def expect(self, id: str, revision: int | None) -> None:
        """Raise `RevisionMismatch` unless a backend has this revision; nothing is expected if it is None."""
        if revision is None:
            return
        record = self.records.get(id)
        found = None if record is None else record.revision
        if found != revision:
            raise RevisionMismatch(id, revision, found)

    # -- status ----------------------------------------------------------------------------------------------

    def update_status(self, id: str, status: BackendStatus, error: str | None, revision: int, now_s: float) -> None:
        """Note a check. A healthy backend has no error. Only a change of status or error is durable."""
        record = self.require(id)
        if status is BackendStatus.HEALTHY:
            error = None
        if record.status is status and record.last_error == error:
            self._count(id, last_health_check_s=now_s)
            return
        changed = msgspec.structs.replace(record, status=status, last_error=error, last_health_check_s=now_s)
        self._change(record, changed, revision)

    def drain(self, id: str, revision: int, now_s: float) -> BackendState:
        """Give a backend nothing new; raises `BackendNotFound`."""
        if self.require(id).status is not BackendStatus.DRAINING:
            self.update_status(id, BackendStatus.DRAINING, None, revision, now_s)
        return self._state(self.require(id))

    def undrain(self, id: str, revision: int, now_s: float) -> BackendState:
        """Let the next check decide about a backend that drains; raises `BackendNotFound`."""
        if self.require(id).status is BackendStatus.DRAINING:
            self.update_status(id, BackendStatus.UNKNOWN, None, revision, now_s)
        return self._state(self.require(id))

    # -- counts ----------------------------------------------------------------------------------------------

    def increment_pending(self, id: str, session: int) -> int:
        """Count one more request in flight, on the account of a session; raises `BackendNotFound`."""
        if self.records.get(id) is None:
            raise BackendNotFound(id)
        return self.pending.increment(id, session)

    def decrement_pending(self, id: str, session: int) -> int:
        """Count one less; see `Pending.decrement`; raises `BackendNotFound`."""
        self.require(id)
        return self.pending.decrement(id, session)

    def increment_total(self, id: str) -> int:
        """Count a request that has ended."""
        self.require(id)
        return self._count(id, total_requests=self._counters(id).total_requests + 1).total_requests

    def update_latency(self, id: str, latency_ms: int) -> int:
        """Take a sample into the moving average: `(sample + 4 * old) // 5`, the first one as it is."""
        self.require(id)
        return self._count(
            id, avg_latency_ms=moved_average(self._counters(id).avg_latency_ms, latency_ms)
        ).avg_latency_ms

    def request_ended(self, id: str, latency_ms: int | None) -> None:
        """Count a request that has ended and, if it says something, how long it took."""
        if id not in self.records:
            return
        before = self._counters(id)
        average = before.avg_latency_ms
        if latency_ms is not None:
            average = moved_average(average, latency_ms)
        self.counters.put(id, CountersRecord(before.total_requests + 1, average, before.last_health_check_s))

    def _count(self, id: str, **values: float) -> CountersRecord:
        counters: CountersRecord = msgspec.structs.replace(self._counters(id), **values)
        self.counters.put(id, counters)
        return counters


def moved_average(old_ms: int, sample_ms: int) -> int:
    """The seeds' moving average in whole milliseconds; an old value of 0 stands for no sample.

    >>> moved_average(moved_average(moved_average(0, 100), 200), 150)
    126
    """
    return (sample_ms + 4 * old_ms) // 5 if old_ms else sample_ms


def _normal(record: BackendRecord) -> BackendRecord:
    """A record as it is stored; raises `InvalidField`."""
    return msgspec.structs.replace(record, url=normalise_url(record.url), models=_named(record.models))


def _named(models: tuple[ModelRecord, ...]) -> tuple[ModelRecord, ...]:
    """Models, of which each has a name."""
    return tuple(model if model.name else msgspec.structs.replace(model, name=model.id) for model in models)


def _probed_as(record: BackendRecord) -> tuple[BackendStatus, str, Connection]:
    """What matters to health."""
    return record.status, record.url, record.connection


def _model_ids(record: BackendRecord | None) -> set[str]:
    return set() if record is None else {model.id for model in record.models}


def _servers(record: BackendRecord | None) -> set[str]:
    if record is None:
        return set()
    try:
        return {server_key(record.url)}
    except InvalidField:  # found so in a journal that somebody else has written
        return set()
