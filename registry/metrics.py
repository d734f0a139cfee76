"""What the owner counts, as one snapshot."""

from __future__ import annotations

import msgspec

from registry.kinds import BackendStatus, Outcome


class BackendMetrics(msgspec.Struct, frozen=True):
    """One backend at this moment."""

    id: str
    status: BackendStatus
    pending_requests: int


class ServiceCounts(msgspec.Struct, frozen=True):
    """Services at this moment.

    Attributes:
        registered: All of them.
        healthy: Those whose status is `running` and whose latest heartbeat is young enough.
    """

    registered: int = 0
    healthy: int = 0


class TrafficMetrics(msgspec.Struct, frozen=True):
    """Requests that ended alike since the system started."""

    backend: str
    model: str
    outcome: Outcome
    requests: int


class Histogram(msgspec.Struct, frozen=True):
    """Durations of one backend's requests.

    Attributes:
        backend: Id of the backend.
        buckets: Upper bound in seconds and how many were at most that long; the last bound is infinity.
        sum_s: All of them together, in seconds.
    """

    backend: str
    buckets: list[tuple[float, int]]
    sum_s: float


class Metrics(msgspec.Struct, frozen=True):
    """All figures of one moment.

    Attributes:
        epoch: Number of the owner's life.
        revision: Number of the latest durable change.
        leases: How many leases are held.
        backends: Each backend.
        traffic: Ended requests by backend, model and outcome.
        durations: Whole duration of successful requests by backend.
        first_bytes: Time to the first byte by backend.
        http_errors: Errors that gateways answered themselves, by status code.
        waiting: How many requests wait for a backend.
        uptime_s: Seconds since the system started; a new owner does not begin anew.
        services: How many services there are.
    """

    epoch: int
    revision: int
    leases: int
    backends: list[BackendMetrics]
    traffic: list[TrafficMetrics]
    durations: list[Histogram]
    first_bytes: list[Histogram]
    http_errors: dict[int, int]
    waiting: int = 0
    uptime_s: float = 0.0
    services: ServiceCounts = ServiceCounts()
