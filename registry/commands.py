"""What can be said to the registry's owner, with the limits of every field."""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta

from registry.kinds import BackendStatus, Outcome
from registry.state.records import BackendRecord, Milliseconds, ModelId, Models, Name, Text

LEASE_S = 3600.0
"""How long a lease lasts unless asked for otherwise; it ends much earlier with its session."""


class Command(msgspec.Struct, frozen=True, tag=True, forbid_unknown_fields=True):
    """Base of the commands. On the wire a command is a map with its class's name under `type`."""


class AddBackend(Command, frozen=True, tag=True):
    """Result: None."""

    backend: BackendRecord


class RemoveBackend(Command, frozen=True, tag=True):
    """Result: `BackendState`, as it was."""

    id: Name


class GetBackend(Command, frozen=True, tag=True):
    """Result: `BackendState` or None."""

    id: Name


class GetBackends(Command, frozen=True, tag=True):
    """Result: list of `BackendState`, in order of their arrival.

    Attributes:
        model: Only those that have this model.
        status: Only those in this status.
    """

    model: ModelId | None = None
    status: BackendStatus | None = None


class GetModels(Command, frozen=True, tag=True):
    """Result: sorted list of the ids of the models that healthy backends have."""


class CountAll(Command, frozen=True, tag=True):
    """Result: number of backends and number of distinct models."""


class HasBackendUrl(Command, frozen=True, tag=True):
    """Result: whether a backend has this URL, in normal form."""

    url: Annotated[str, Meta(max_length=4096)]


class UpdateStatus(Command, frozen=True, tag=True):
    """Result: None."""

    id: Name
    status: BackendStatus
    error: Text | None = None


class UpdateModels(Command, frozen=True, tag=True):
    """Result: None."""

    id: Name
    models: Models


class IncrementPending(Command, frozen=True, tag=True):
    """Result: the new number of pending requests."""

    id: Name


class DecrementPending(Command, frozen=True, tag=True):
    """Result: the new number of pending requests."""

    id: Name


class IncrementTotalRequests(Command, frozen=True, tag=True):
    """Result: the new total."""

    id: Name


class UpdateLatency(Command, frozen=True, tag=True):
    """Result: the new average in milliseconds."""

    id: Name
    latency_ms: Milliseconds


class Acquire(Command, frozen=True, tag=True):
    """Result: `Grant`.

    Attributes:
        model: The model that the request is for.
        exclude: Backends that were tried before.
        lease_s: How long the lease may last.
    """

    model: ModelId
    exclude: Annotated[tuple[Name, ...], Meta(max_length=100)] = ()
    lease_s: Annotated[float, Meta(gt=0, le=7 * 86_400)] = LEASE_S


class Release(Command, frozen=True, tag=True):
    """Result: None.

    Attributes:
        lease: Number of the lease.
        outcome: How the request ended.
        latency_ms: How long it took in all, if that says something about the backend.
        first_byte_ms: How long it took to the first byte of the answer.
    """

    lease: Annotated[int, Meta(ge=1)]
    outcome: Outcome = Outcome.OK
    latency_ms: Milliseconds | None = None
    first_byte_ms: Milliseconds | None = None


class GetLeases(Command, frozen=True, tag=True):
    """Result: list of `HeldLease`, oldest first."""


class CountHttpError(Command, frozen=True, tag=True):
    """Result: None."""

    code: Annotated[int, Meta(ge=400, le=599)]


class GetMetrics(Command, frozen=True, tag=True):
    """Result: `registry.metrics.Metrics`."""


AnyCommand = (
    AddBackend
    | RemoveBackend
    | GetBackend
    | GetBackends
    | GetModels
    | CountAll
    | HasBackendUrl
    | UpdateStatus
    | UpdateModels
    | IncrementPending
    | DecrementPending
    | IncrementTotalRequests
    | UpdateLatency
    | Acquire
    | Release
    | GetLeases
    | CountHttpError
    | GetMetrics
)
