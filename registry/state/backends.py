"""Backends: what they are, which models they have, how busy they are."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterable
from typing import TypeVar

import msgspec

from actors.tables import Table
from registry.errors import BackendNotFound, DuplicateBackend
from registry.kinds import BackendStatus
from registry.state.records import BackendRecord, BackendState, CountersRecord, LeaseRecord, ModelRecord
from registry.urls import normalise_url

logger = logging.getLogger(__name__)

K = TypeVar("K")
V = TypeVar("V")

_NOTHING_COUNTED = CountersRecord()


class Backends:
    """The tables of backends, and what is derived from them.

    Attributes:
        pending: Requests in flight by backend: live leases and raw increments.
    """

    def __init__(self) -> None:
        self.records = Table("backends", str, BackendRecord, durable=True, on_change=self._backend_changed)
        self.counters = Table("counters", str, CountersRecord, durable=False)
        self.raw: Table[tuple[str, int], int] = Table(
            "raw_pending", tuple[str, int], int, durable=False, on_change=self._raw_changed
        )
        self.tables = (self.records, self.counters, self.raw)
        self.pending: Counter[str] = Counter()
        self._by_model: dict[str, dict[str, None]] = {}
        self._raw_of_session: dict[int, set[str]] = {}
        self._raw_of_backend: dict[str, set[int]] = {}

    # -- what is derived -------------------------------------------------------------------------------------

    def _backend_changed(self, id: str, before: BackendRecord | None, after: BackendRecord | None) -> None:
        old = _model_ids(before)
        new = _model_ids(after)
        if old == new:
            return
        for model in old - new:
            having = self._by_model[model]
            del having[id]
            if not having:
                del self._by_model[model]
        for model in new - old:
            self._by_model.setdefault(model, {})[id] = None

    def _raw_changed(self, key: tuple[str, int], before: int | None, after: int | None) -> None:
        backend, session = key
        self._add_pending(backend, (after or 0) - (before or 0))
        if after is None:
            _discard(self._raw_of_session, session, backend)
            _discard(self._raw_of_backend, backend, session)
        elif before is None:
            self._raw_of_session.setdefault(session, set()).add(backend)
            self._raw_of_backend.setdefault(backend, set()).add(session)

    def lease_changed(self, before: LeaseRecord | None, after: LeaseRecord | None) -> None:
        """Count a lease that came, went or moved."""
        if before is not None:
            self._add_pending(before.backend, -1)
        if after is not None:
            self._add_pending(after.backend, 1)

    def _add_pending(self, backend: str, amount: int) -> None:
        pending = self.pending[backend] + amount
        if pending:
            self.pending[backend] = pending
        else:
            del self.pending[backend]

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
        counters = self.counters.get(record.id) or _NOTHING_COUNTED
        if counters.last_health_check_s > record.last_health_check_s:
            record = msgspec.structs.replace(record, last_health_check_s=counters.last_health_check_s)
        return BackendState(record, self.pending[record.id], counters.total_requests, counters.avg_latency_ms)

    def states(self, model: str | None, status: BackendStatus | None) -> list[BackendState]:
        """The backends that have a model and are in a status; see `having` for the order."""
        records: Iterable[BackendRecord] = (
            self.records.values() if model is None else (self.require(id) for id in self.having(model))
        )
        return [self._state(record) for record in records if status is None or record.status is status]

    def having(self, model: str) -> Iterable[str]:
        """Ids of the backends that have a model, each once, in the order in which they came to have it."""
        return self._by_model.get(model, ())

    def healthy_models(self) -> list[str]:
        """Ids of the models that healthy backends have, sorted."""
        healthy = (record for record in self.records.values() if record.status is BackendStatus.HEALTHY)
        return sorted({model.id for record in healthy for model in record.models})

    def model_count(self) -> int:
        """Number of distinct models of all backends."""
        return len(self._by_model)

    def has_url(self, url: str) -> bool:
        """Whether a backend has this URL."""
        url = normalise_url(url)
        return any(record.url == url for record in self.records.values())

    # -- changing --------------------------------------------------------------------------------------------

    def add(self, record: BackendRecord, now_s: float) -> None:
        """Add a backend; raises `DuplicateBackend` or `InvalidField`."""
        if record.id in self.records:
            raise DuplicateBackend(record.id)
        url = normalise_url(record.url)
        models = tuple(_named(model) for model in record.models)
        checked_s = record.last_health_check_s or now_s
        self.records.put(
            record.id, msgspec.structs.replace(record, url=url, models=models, last_health_check_s=checked_s)
        )

    def remove(self, id: str) -> BackendState:
        """Remove a backend and what is counted of it; leases on it go on until they are given back."""
        removed = self._state(self.require(id))
        self.records.delete(id)
        if id in self.counters:
            self.counters.delete(id)
        for session in sorted(self._raw_of_backend.get(id, ())):
            self.raw.delete((id, session))
        return removed

    def update_status(self, id: str, status: BackendStatus, error: str | None, now_s: float) -> None:
        """Note a check. A healthy backend has no error. Only a change of status or error is durable."""
        record = self.require(id)
        if status is BackendStatus.HEALTHY:
            error = None
        if record.status is status and record.last_error == error:
            self._count(id, last_health_check_s=now_s)
            return
        self.records.put(
            id, msgspec.structs.replace(record, status=status, last_error=error, last_health_check_s=now_s)
        )

    def update_models(self, id: str, models: tuple[ModelRecord, ...]) -> None:
        """Replace all models of a backend at once."""
        record = self.require(id)
        models = tuple(_named(model) for model in models)
        if models != record.models:
            self.records.put(id, msgspec.structs.replace(record, models=models))

    def increment_pending(self, id: str, session: int) -> int:
        """Count one more request in flight, on the account of a session."""
        self.require(id)
        self.raw.put((id, session), (self.raw.get((id, session)) or 0) + 1)
        return self.pending[id]

    def decrement_pending(self, id: str, session: int) -> int:
        """Count one less: of the session's own first, else of the session that has the most; never a lease."""
        self.require(id)
        holders = self._raw_of_backend.get(id)
        if not holders:
            logger.warning("decrement_pending of %s, which has no increment left", id)
            return self.pending[id]
        holder = session if session in holders else max(sorted(holders), key=lambda one: self.raw.get((id, one)) or 0)
        count = self.raw.get((id, holder)) or 0
        if count > 1:
            self.raw.put((id, holder), count - 1)
        else:
            self.raw.delete((id, holder))
        return self.pending[id]

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
        counters = self._counters(id)
        average = counters.avg_latency_ms
        if latency_ms is not None:
            average = moved_average(average, latency_ms)
        self._count(id, total_requests=counters.total_requests + 1, avg_latency_ms=average)

    def end_session(self, session: int) -> None:
        """Take back the increments of a session."""
        for backend in sorted(self._raw_of_session.get(session, ())):
            self.raw.delete((backend, session))

    def _counters(self, id: str) -> CountersRecord:
        return self.counters.get(id) or _NOTHING_COUNTED

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


def _named(model: ModelRecord) -> ModelRecord:
    return model if model.name else msgspec.structs.replace(model, name=model.id)


def _model_ids(record: BackendRecord | None) -> set[str]:
    return set() if record is None else {model.id for model in record.models}


def _discard(index: dict[K, set[V]], key: K, value: V) -> None:
    values = index[key]
    values.discard(value)
    if not values:
        del index[key]
