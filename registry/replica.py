"""A worker process's own copy of the registry, for reads at the speed of a dictionary."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager, nullcontext
from datetime import UTC, datetime
from typing import Any

from actors.client import Client
from actors.clock import Clock, SystemClock
from actors.replica import Replica
from actors.statistics import ReplicaStatistics
from registry.kinds import BackendStatus, BackendType
from registry.models import BackendList, BackendView
from registry.operations.calls import ASK
from registry.service_replica import ServiceReplica
from registry.state.records import BackendRecord, BackendState
from registry.urls import normalise_url
from registry.views import BACKENDS, COUNTS, TYPES, CountsRecord

MAX_ID = 512
MAX_MODEL_ID = 1024
MAX_URL = 4096
"""What is longer, or no text at all, is left to the owner to refuse."""

_NOTHING_COUNTED = CountsRecord()


class RegistryReplica:
    """The reads of backends by the names of `registry.operations`, and what is derived from the copy for them.

    Views are made when they are first asked for and kept until something of them changes. What depends on
    several of them holds the lock, so that no update is seen in part; a read of one view that is made needs none.

    Args:
        clock: The time.

    Attributes:
        replica: The copy.
        services: The services in it.
    """

    def __init__(self, clock: Clock | None = None) -> None:
        clock = clock or SystemClock()
        self.replica = Replica(TYPES, clock, self)
        self.services = ServiceReplica(self.replica, clock)
        self._refresh: Callable[[], bool] = bool
        self._lock: Callable[[], AbstractContextManager[Any]] = nullcontext
        self._views: dict[str, BackendView] = {}
        self._outdated: dict[str, BackendView] = {}
        self._records: dict[str, BackendRecord] = {}
        self._by_model: dict[str, dict[str, None]] = {}
        self._healthy: Counter[str] = Counter()
        self._urls: Counter[str] = Counter()

    def kept_by(self, refresh: Callable[[], bool], client: Client | None = None) -> None:
        """Say who keeps the copy up to date, and whose lock protects it."""
        self._refresh = refresh
        if client is not None:
            self._lock = self.services.lock = lambda: client.lock

    def is_current(self) -> bool:
        """Take in what has come; whether reads can be answered from here."""
        return self._refresh()

    def statistics(self) -> ReplicaStatistics:
        """A snapshot."""
        if self.replica.following:
            self._refresh()
        with self._lock():
            return self.replica.statistics()

    # -- reads -----------------------------------------------------------------------------------------------

    def get_backend(self, id: str) -> Any:
        """A backend, or None."""
        view = self._views.get(id)
        return self._find(id) if view is None else view

    def _find(self, id: str) -> Any:
        if not _is_text(id, MAX_ID):
            return ASK
        with self._lock():
            record = self._records.get(id)
            return None if record is None else self._view(record)

    def get_all_backends(self) -> Any:
        """All backends, in order of their arrival."""
        with self._lock():
            return [self._view(record) for record in self._all()]

    def get_healthy_backends(self) -> Any:
        """The backends that may be given requests."""
        with self._lock():
            return [self._view(record) for record in self._all() if record.status is BackendStatus.HEALTHY]

    def get_backends_for_model(self, model_id: str) -> Any:
        """The backends that have a model."""
        if not _is_text(model_id, MAX_MODEL_ID):
            return ASK
        with self._lock():
            records, views = self._records, self._views
            return [views.get(id) or self._view(records[id]) for id in self._by_model.get(model_id, ())]

    def list_backends(
        self, *, model: Any = None, status: Any = None, backend_type: Any = None, label: Any = None
    ) -> Any:
        """The backends that are all of what is given, and the revision."""
        if not (
            (model is None or _is_text(model, MAX_MODEL_ID))
            and (status is None or isinstance(status, BackendStatus))
            and (backend_type is None or isinstance(backend_type, BackendType))
            and (not label or _are_texts(label))
        ):
            return ASK
        wanted = dict(label or {}).items()
        with self._lock():
            if self.replica.revision is None:
                return ASK  # somebody was interrupted
            found = tuple(
                self._view(record)
                for record in self._having(model)
                if (status is None or record.status is status)
                and (backend_type is None or record.backend_type is backend_type)
                and wanted <= record.labels.items()
            )
            return BackendList.model_construct(revision=self.replica.revision, backends=found)

    def _having(self, model: str | None) -> Iterable[BackendRecord]:
        return self._all() if model is None else [self._records[id] for id in self._by_model.get(model, ())]

    def get_models(self) -> Any:
        """Sorted ids of the models that healthy backends have."""
        with self._lock():
            return sorted(self._healthy)

    def backend_count(self) -> Any:
        """Number of backends."""
        with self._lock():
            return len(self._records)

    def model_count(self) -> Any:
        """Number of distinct models of all backends."""
        with self._lock():
            return len(self._by_model)

    def has_backend_url(self, url: str) -> Any:
        """Whether a backend has this URL."""
        if not _is_text(url, MAX_URL):
            return ASK
        wanted = normalise_url(url)
        with self._lock():
            return wanted in self._urls

    def _all(self) -> Any:
        return self.replica.rows(BACKENDS.name).values()

    def _view(self, record: BackendRecord) -> BackendView:
        id = record.id
        view = self._views.get(id)
        if view is None:
            counts: CountsRecord = self.replica.rows(COUNTS.name).get(id) or _NOTHING_COUNTED
            outdated = self._outdated.pop(id, None)
            view = _made(record, counts) if outdated is None else _counted(outdated, record, counts)
            self._views[id] = view
        return view

    # -- changes ---------------------------------------------------------------------------------------------

    def changed(self, view: str, key: str, record: Any) -> None:
        """See `actors.replica.Listener`."""
        if view == COUNTS.name:
            before = self._views.pop(key, None)
            if before is not None:
                self._outdated[key] = before
        elif view == BACKENDS.name:
            self._backend_changed(key, record)

    def _backend_changed(self, key: str, record: BackendRecord | None) -> None:
        self._views.pop(key, None)
        self._outdated.pop(key, None)
        known = self._records.pop(key, None)
        if known is not None:
            self._unindex(known, record)
        if record is not None:
            self._records[key] = record
            self._index(known, record)

    def cleared(self, view: str) -> None:
        """See `actors.replica.Listener`."""
        if view in (BACKENDS.name, COUNTS.name):
            self._views.clear()
            self._outdated.clear()
        if view == BACKENDS.name:
            self._records.clear()
            self._by_model.clear()
            self._healthy.clear()
            self._urls.clear()

    def _index(self, before: BackendRecord | None, record: BackendRecord) -> None:
        self._urls[record.url] += 1
        if record.status is BackendStatus.HEALTHY:
            self._healthy.update(_models(record))
        for model in _models(record) - _models(before):
            self._by_model.setdefault(model, {})[record.id] = None

    def _unindex(self, record: BackendRecord, after: BackendRecord | None) -> None:
        _take(self._urls, record.url)
        models = _models(record)
        if record.status is BackendStatus.HEALTHY:
            for model in models:
                _take(self._healthy, model)
        for model in models - _models(after):
            having = self._by_model[model]
            del having[record.id]
            if not having:
                del self._by_model[model]


def _is_text(value: Any, longest: int) -> bool:
    return isinstance(value, str) and 0 < len(value) <= longest


def _are_texts(labels: Any) -> bool:
    return isinstance(labels, dict) and all(
        _is_text(name, MAX_ID) and isinstance(value, str) for name, value in labels.items()
    )


def _models(record: BackendRecord | None) -> set[str]:
    return set() if record is None else {model.id for model in record.models}


def _take(counter: Counter[str], key: str) -> None:
    counter[key] -= 1
    if not counter[key]:
        del counter[key]


def _checked_s(record: BackendRecord, counts: CountsRecord) -> float:
    return max(record.last_health_check_s, counts.last_health_check_s)


def _made(record: BackendRecord, counts: CountsRecord) -> BackendView:
    state = BackendState(record, counts.pending_requests, counts.total_requests, counts.avg_latency_ms)
    return _counted(BackendView.of(state), record, counts)


def _counted(view: BackendView, record: BackendRecord, counts: CountsRecord) -> BackendView:
    """The same backend with other counts: most of a view is the same then, and need not be made again."""
    return view.model_copy(
        update={
            "pending_requests": counts.pending_requests,
            "total_requests": counts.total_requests,
            "avg_latency_ms": counts.avg_latency_ms,
            "last_health_check": datetime.fromtimestamp(_checked_s(record, counts), UTC),
        }
    )
