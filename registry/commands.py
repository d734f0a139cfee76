"""What can be said to the registry's owner, with the limits of every field."""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import UNSET, Meta, UnsetType

from registry.kinds import BackendStatus, BackendType, Outcome
from registry.state.records import (
    BackendRecord,
    Concurrency,
    Labels,
    Metadata,
    Milliseconds,
    ModelId,
    Models,
    Name,
    Priority,
    Revision,
    Text,
    Weight,
)

LEASE_S = 3600.0
"""How long a lease lasts unless asked for otherwise; it ends much earlier with its session."""


class Command(msgspec.Struct, frozen=True, tag=True, forbid_unknown_fields=True):
    """Base of the commands. On the wire a command is a map with its class's name under `type`."""


class AddBackend(Command, frozen=True, tag=True):
    """Result: None."""

    backend: BackendRecord


class PutBackend(Command, frozen=True, tag=True):
    """Add a backend, or give the one of this id another configuration. Result: `BackendState`.

    Attributes:
        backend: The whole configuration.
        keep_status: Whether one that is there keeps its status.
        expected_revision: Only if it is there and has this revision.
        only_new: Only if it is not there.
    """

    backend: BackendRecord
    keep_status: bool = True
    expected_revision: Revision | None = None
    only_new: bool = False


class UpdateBackend(Command, frozen=True, tag=True, omit_defaults=True):
    """Change what is given. Result: `BackendState`.

    Attributes:
        id: The backend.
        expected_revision: Only if it has this revision.
    """

    id: Name
    name: Name | UnsetType = UNSET
    labels: Labels | UnsetType = UNSET
    priority: Priority | UnsetType = UNSET
    weight: Weight | UnsetType = UNSET
    max_concurrency: Concurrency | UnsetType | None = UNSET
    metadata: Metadata | UnsetType = UNSET
    expected_revision: Revision | None = None


class RemoveBackend(Command, frozen=True, tag=True):
    """Result: `BackendState`, as it was.

    Attributes:
        id: The backend.
        expected_revision: Only if it has this revision.
    """

    id: Name
    expected_revision: Revision | None = None


class DrainBackend(Command, frozen=True, tag=True):
    """Give it nothing new. Result: `BackendState`."""

    id: Name


class UndrainBackend(Command, frozen=True, tag=True):
    """The end of draining: the next check decides. Result: `BackendState`."""

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


class ListBackends(Command, frozen=True, tag=True):
    """Result: `BackendListing`, in order of their arrival.

    Attributes:
        model: Only those that have this model.
        status: Only those in this status.
        backend_type: Only those of this type.
        labels: Only those that have all these labels.
    """

    model: ModelId | None = None
    status: BackendStatus | None = None
    backend_type: BackendType | None = None
    labels: Labels = {}


class GetModels(Command, frozen=True, tag=True):
    """Result: sorted list of the ids of the models that healthy backends have."""


class CountAll(Command, frozen=True, tag=True):
    """Result: number of backends and number of distinct models."""


class HasBackendUrl(Command, frozen=True, tag=True):
    """Result: whether a backend has this URL, in normal form."""

    url: Annotated[str, Meta(max_length=4096)]


class UpdateStatus(Command, frozen=True, tag=True):
    """Result: None.

    Attributes:
        id: The backend.
        status: Its status from now on.
        error: Why it is not healthy.
        keep_draining: Whether a backend that drains stays as it is.
    """

    id: Name
    status: BackendStatus
    error: Text | None = None
    keep_draining: bool = False


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
        lease_s: How long the lease may last, from its grant.
        wait: Whether it waits while all backends are busy, until the deadline of the call.
        priority: Of those who wait, lower is served first.
    """

    model: ModelId
    exclude: Annotated[tuple[Name, ...], Meta(max_length=100)] = ()
    lease_s: Annotated[float, Meta(gt=0, le=7 * 86_400)] = LEASE_S
    wait: bool = False
    priority: Annotated[int, Meta(ge=-100, le=100)] = 0


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


class ForceRelease(Command, frozen=True, tag=True):
    """Take a lease from whoever holds it. Result: `HeldLease`, as it was."""

    lease: Annotated[int, Meta(ge=1)]


class GetLeases(Command, frozen=True, tag=True):
    """Result: list of `HeldLease`, oldest first.

    Attributes:
        backend: Only those on this backend.
    """

    backend: Name | None = None


class CountHttpError(Command, frozen=True, tag=True):
    """Result: None."""

    code: Annotated[int, Meta(ge=400, le=599)]


class GetMetrics(Command, frozen=True, tag=True):
    """Result: `registry.metrics.Metrics`."""


AnyCommand = (
    AddBackend
    | PutBackend
    | UpdateBackend
    | RemoveBackend
    | DrainBackend
    | UndrainBackend
    | GetBackend
    | GetBackends
    | ListBackends
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
    | ForceRelease
    | GetLeases
    | CountHttpError
    | GetMetrics
)
