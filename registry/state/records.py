"""The records of the registry's tables: compact, immutable structs."""

from __future__ import annotations

import math
from typing import Annotated

import msgspec
from msgspec import Meta

from registry.kinds import BackendRole, BackendStatus, BackendType, Connection, DiscoverySource, Outcome
from registry.urls import MAX_NORMAL_URL_CHARS

Name = Annotated[str, Meta(min_length=1, max_length=512)]
ModelId = Annotated[str, Meta(min_length=1, max_length=1024)]
Text = Annotated[str, Meta(max_length=4096)]
Tokens = Annotated[int, Meta(ge=0, le=2**31 - 1)]
Milliseconds = Annotated[int, Meta(ge=0, le=2**31 - 1)]
Priority = Annotated[int, Meta(ge=-(2**31), le=2**31 - 1)]
Revision = Annotated[int, Meta(ge=0, le=2**63 - 1)]
MAX_MODELS = 10_000
MAX_METADATA = 100
MAX_LABELS = 100
MAX_WEIGHT = 1_000_000
MAX_CONCURRENCY = 1_000_000
Weight = Annotated[int, Meta(ge=1, le=MAX_WEIGHT)]
Concurrency = Annotated[int, Meta(ge=1, le=MAX_CONCURRENCY)]
Metadata = Annotated[dict[Name, Text], Meta(max_length=MAX_METADATA)]
Labels = Annotated[dict[Name, Text], Meta(max_length=MAX_LABELS)]


class ModelRecord(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One model of a backend; the fields are those of `registry.models.Model`."""

    id: ModelId
    name: Annotated[str, Meta(max_length=1024)] = ""
    context_length: Tokens = 4096
    supports_vision: bool = False
    supports_tools: bool = False
    supports_json_mode: bool = False
    max_output_tokens: Tokens | None = None


Models = Annotated[tuple[ModelRecord, ...], Meta(max_length=MAX_MODELS)]


class BackendRecord(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The durable part of a backend; the fields are those of `registry.models.Backend`, and of `BackendView`."""

    id: Name
    name: Name
    url: Annotated[str, Meta(min_length=1, max_length=MAX_NORMAL_URL_CHARS)]
    backend_type: BackendType = BackendType.GENERIC
    status: BackendStatus = BackendStatus.UNKNOWN
    last_health_check_s: float = 0.0
    last_error: Text | None = None
    models: Models = ()
    priority: Priority = 0
    discovery_source: DiscoverySource = DiscoverySource.MANUAL
    metadata: Metadata = {}
    labels: Labels = {}
    weight: Weight = 1
    max_concurrency: Concurrency | None = None
    role: BackendRole = BackendRole.REGULAR
    connection: Connection = Connection.HTTP
    revision: Revision = 0


class CountersRecord(msgspec.Struct, frozen=True, array_like=True):
    """What is counted of a backend; of what the machine takes down with it, a second is lost.

    Attributes:
        total_requests: Requests that have ended.
        avg_latency_ms: Moving average; 0 means that there is no sample.
        last_health_check_s: Instant of the latest check that changed nothing else, in seconds since 1970.
    """

    total_requests: int = 0
    avg_latency_ms: int = 0
    last_health_check_s: float = 0.0


class LeaseRecord(msgspec.Struct, frozen=True, array_like=True):
    """The right of a session to have one request in flight on a backend.

    Attributes:
        session: Who holds it.
        backend: Id of the backend.
        model: The model asked for.
        granted_s: Instant of the grant on `CLOCK_MONOTONIC`.
        deadline_s: Instant on `CLOCK_MONOTONIC` when it is taken back.
    """

    session: int
    backend: str
    model: str
    granted_s: float
    deadline_s: float


class WaitingRecord(msgspec.Struct, frozen=True, array_like=True):
    """A request that waits for a backend; its key is the session and number of the command.

    Attributes:
        model: The model asked for.
        exclude: Backends that were tried before.
        lease_s: How long the lease may last, from its grant.
        priority: Lower is served first.
        since_s: Instant on `CLOCK_MONOTONIC` of its arrival.
        arrival: Number of its arrival, which rises from one to the next.
        deadline_s: Instant on `CLOCK_MONOTONIC` after which it is not served.
    """

    model: str
    exclude: tuple[str, ...]
    lease_s: float
    priority: int
    since_s: float
    arrival: int = 0
    deadline_s: float = math.inf


class HistogramRecord(msgspec.Struct, frozen=True, array_like=True):
    """How often a duration fell into each bucket of `registry.state.traffic.BUCKETS_S`, and the sum in seconds."""

    counts: tuple[int, ...]
    sum_s: float


class BackendState(msgspec.Struct, frozen=True, array_like=True):
    """A backend as it is handed out: its record and its counts at that moment."""

    record: BackendRecord
    pending_requests: int
    total_requests: int
    avg_latency_ms: int


class Grant(msgspec.Struct, frozen=True, array_like=True):
    """A lease as it is handed out."""

    id: int
    backend: str
    url: str
    model: str
    deadline_s: float


class HeldLease(msgspec.Struct, frozen=True, array_like=True):
    """A lease as it is shown; the fields are those of `registry.models.LeaseView`."""

    id: int
    backend: str
    model: str
    session: int
    holder: str
    age_s: float
    remaining_s: float


class BackendListing(msgspec.Struct, frozen=True, array_like=True):
    """Some backends, and the number of the latest durable change."""

    revision: int
    backends: list[BackendState]


TrafficKey = tuple[str, str, Outcome]
"""Backend, model and outcome of requests that are counted together."""
