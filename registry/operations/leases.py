"""Leases: the right to have a request in flight on a backend."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from actors.client import DEFAULT_TIMEOUT_S
from registry import commands as c
from registry.errors import InvalidField
from registry.kinds import Outcome
from registry.models import Lease, LeaseView
from registry.operations.calls import Call, encode, none, operation, reader
from registry.state.records import Grant, HeldLease

_grant = reader(Grant)
_held = reader(HeldLease)
_all_held = reader(list[HeldLease])


def _view(raw: msgspec.Raw) -> LeaseView:
    return LeaseView.of(_held(raw))


def _views(raw: msgspec.Raw) -> list[LeaseView]:
    return [LeaseView.of(held) for held in _all_held(raw)]


def _lease(raw: msgspec.Raw) -> Lease:
    grant = _grant(raw)
    return Lease(grant.id, grant.backend, grant.url, grant.model, grant.deadline_s)


def _give_back(raw: msgspec.Raw) -> bytes:
    return encode(c.Release(_grant(raw).id, outcome=Outcome.CANCELLED))


def release_command(lease: Lease, outcome: Outcome, latency_ms: int | None, first_byte_ms: int | None) -> c.Release:
    """The command that gives a lease back."""
    return c.Release(lease.id, outcome, latency_ms, first_byte_ms)


class LeaseOperations:
    """Operations on leases."""

    @operation
    @staticmethod
    def acquire(
        model: str,
        *,
        exclude: Sequence[str] = (),
        lease_s: float = c.LEASE_S,
        wait: bool = False,
        priority: int = 0,
        timeout: float = DEFAULT_TIMEOUT_S,
    ) -> Call[Lease]:
        """Choose a healthy backend for a model and count the request on it, in one step.

        Args:
            model: The model.
            exclude: Ids of backends that were tried before.
            lease_s: How long the lease may last; it ends earlier with this process.
            wait: Whether to wait while all healthy backends have as many requests as they may have. Sessions take
                turns, and within a session the first who asked is the first.
            priority: Of those who wait, a lower number is served first; from -100 to 100.
            timeout: Longest wait in seconds.

        Raises:
            ModelNotFound: No backend has it.
            NoBackendAvailable: None of those that have it can be given a request now; if `wait`, none is healthy.
            QueueFull: Too many wait for this model already.
            CallTimeout: It has waited in vain; nothing is held.
            InvalidField: `exclude` is a string.
        """
        if isinstance(exclude, str):
            raise InvalidField("exclude", "must be a list of ids, not one string")
        command = c.Acquire(model, tuple(exclude), lease_s, wait, priority)
        # A lease that comes too late is given back: who has waited in vain has changed nothing.
        return Call(command, _lease, timeout=timeout, changes=not wait, on_orphan=_give_back)

    @operation
    @staticmethod
    def release(
        lease: Lease,
        *,
        outcome: Outcome = Outcome.OK,
        latency_ms: int | None = None,
        first_byte_ms: int | None = None,
    ) -> Call[None]:
        """Give a lease back and say how the request went. In a forked child one of the parent's stays as it is.

        Args:
            lease: What `acquire` returned.
            outcome: How it ended.
            latency_ms: How long it took in all; counted when the outcome is OK.
            first_byte_ms: How long it took to the first byte.

        Raises:
            LeaseNotFound: It was given back before or has expired.
        """
        command = release_command(lease, outcome, latency_ms, first_byte_ms)
        return Call(command, none, inert=lease.is_inherited)

    @operation
    @staticmethod
    def force_release(lease_id: int) -> Call[LeaseView]:
        """Take a lease from whoever holds it; returns it as it was. The holder's own release is refused from then on.

        Raises:
            LeaseNotFound: There is none of this number.
        """
        return Call(c.ForceRelease(lease_id), _view)

    @operation
    @staticmethod
    def get_leases(backend: str | None = None) -> Call[list[LeaseView]]:
        """Who has a request in flight on which backend, oldest first.

        Args:
            backend: Only those on this one.
        """
        return Call(c.GetLeases(backend), _views, changes=False)
