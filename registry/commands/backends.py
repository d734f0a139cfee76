"""Commands about backends: which there are and how they are."""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import UNSET, Meta, UnsetType

from registry.commands.base import Command
from registry.kinds import BackendStatus, BackendType
from registry.state.records import (
    BackendRecord,
    Concurrency,
    Labels,
    Metadata,
    ModelId,
    Models,
    Name,
    Priority,
    Revision,
    Text,
    Weight,
)


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
    labels: Labels = msgspec.field(default_factory=dict)


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
