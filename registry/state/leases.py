"""Leases: who has a request in flight on which backend."""

from __future__ import annotations

from collections.abc import Callable

from actors.tables import Table
from registry.errors import LeaseNotFound
from registry.state.pending import Pending
from registry.state.records import HeldLease, LeaseRecord

NameOf = Callable[[int], str]
"""Tells the name of a session's process."""


class Leases:
    """The table of leases.

    Args:
        pending: Told each lease that comes or goes.
        latest: Where the number of the latest lease of each backend is noted.
    """

    def __init__(self, pending: Pending, latest: dict[str, int]) -> None:
        self._pending = pending
        self._latest = latest
        self._of_session: dict[int, set[int]] = {}
        self.records = Table("leases", int, LeaseRecord, durable=False, on_change=self._changed)
        self.tables = (self.records,)
        self._granted = 0

    def _changed(self, id: int, before: LeaseRecord | None, after: LeaseRecord | None) -> None:
        if before is not None:
            self._pending.add(before.backend, -1)
            held = self._of_session[before.session]
            held.discard(id)
            if not held:
                del self._of_session[before.session]
        if after is not None:
            self._latest[after.backend] = id
            self._pending.add(after.backend, 1)
            self._of_session.setdefault(after.session, set()).add(id)

    def grant(self, lease: LeaseRecord, epoch: int) -> int:
        """Note a lease; returns its number, which is used once in the life of the system."""
        self._granted += 1
        id = (epoch << 40) + self._granted
        self.records.put(id, lease)
        return id

    def release(self, id: int, session: int) -> LeaseRecord:
        """Give a lease back; raises `LeaseNotFound` unless this session holds it."""
        lease = self.records.get(id)
        if lease is None or lease.session != session:
            raise LeaseNotFound(id)
        self.records.delete(id)
        return lease

    def force_release(self, id: int, now_s: float, name_of: NameOf) -> HeldLease:
        """Take a lease from whoever holds it; raises `LeaseNotFound` if nobody does."""
        lease = self.records.get(id)
        if lease is None:
            raise LeaseNotFound(id)
        self.records.delete(id)
        return _held(id, lease, now_s, name_of)

    def end_session(self, session: int) -> None:
        """Take back the leases of a session."""
        for id in sorted(self._of_session.get(session, ())):
            self.records.delete(id)

    def expire(self, now_s: float) -> None:
        """Take back the leases whose deadline has passed."""
        for id, lease in self.records.items():
            if lease.deadline_s <= now_s:
                self.records.delete(id)

    def held(self, backend: str | None, now_s: float, name_of: NameOf) -> list[HeldLease]:
        """The leases on a backend, or all, oldest first."""
        leases = sorted((id, lease) for id, lease in self.records.items() if backend in {None, lease.backend})
        return [_held(id, lease, now_s, name_of) for id, lease in leases]


def _held(id: int, lease: LeaseRecord, now_s: float, name_of: NameOf) -> HeldLease:
    session = lease.session
    age_s, remaining_s = now_s - lease.granted_s, lease.deadline_s - now_s
    return HeldLease(id, lease.backend, lease.model, session, name_of(session), age_s, remaining_s)
