"""What of the registry's state the worker processes keep copies of."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import msgspec

from actors.tables import Change
from actors.views import View, ViewType
from registry.state.backends import Backends
from registry.state.leases import Leases
from registry.state.records import BackendRecord, CountersRecord
from registry.state.service_records import BeatRecord, BeatView, ServiceRecord
from registry.state.services import Services


class CountsRecord(msgspec.Struct, frozen=True, array_like=True):
    """What is counted of a backend; see `registry.models.BackendView`."""

    pending_requests: int = 0
    total_requests: int = 0
    avg_latency_ms: int = 0
    last_health_check_s: float = 0.0


BACKENDS = ViewType("backends", str, BackendRecord, durable=True)
COUNTS = ViewType("counts", str, CountsRecord, durable=False)
"""Only of backends of which something was counted."""

SERVICES = ViewType("services", str, ServiceRecord, durable=True)
BEATS = ViewType("beats", str, BeatView, durable=False, lazy=True)
"""The latest sign of life of each service: thousands a second, and looked at when services are listed."""

TYPES = (BACKENDS, COUNTS, SERVICES, BEATS)


def views(backends: Backends, leases: Leases, services: Services) -> tuple[View[Any, Any], ...]:
    """The views of an owner's state."""
    pending = backends.pending

    def counts(id: str) -> CountsRecord | None:
        counters = backends.counters.get(id)
        requests = pending.of(id)
        if counters is None:
            return CountsRecord(requests) if requests else None
        return _counts(requests, counters)

    def beat(name: str) -> BeatView | None:
        latest: BeatRecord | None = services.beats.get(name)
        return None if latest is None else BeatView(latest.wall_s, services.fresh_until(latest), latest.timestamp)

    touched = {
        backends.counters.name: lambda change: (change.key,),
        pending.raw.name: lambda change: (change.key[0],),
        leases.records.name: _backends_of_lease,
    }
    return (
        View.of_table(BACKENDS, backends.records),
        View(COUNTS, touched, counts, lambda: {*pending, *backends.counters}),
        View.of_table(SERVICES, services.records),
        View(BEATS, {services.beats.name: lambda change: (change.key,)}, beat, lambda: services.beats),
    )


def _counts(requests: int, counters: CountersRecord) -> CountsRecord:
    return CountsRecord(requests, counters.total_requests, counters.avg_latency_ms, counters.last_health_check_s)


def _backends_of_lease(change: Change) -> Iterable[str]:
    return {lease.backend for lease in (change.before, change.after) if lease is not None}
