"""Commands about leases."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta

from registry.commands.base import Command
from registry.kinds import Outcome
from registry.state.records import Milliseconds, ModelId, Name

LEASE_S = 3600.0
"""How long a lease lasts unless asked for otherwise; it ends much earlier with its session."""


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
