"""Leases: who has a request in flight on which backend."""

from __future__ import annotations

from collections.abc import Callable

from actors.tables import Table
from registry.errors import LeaseNotFound
from registry.state.records import HeldLease, LeaseRecord


class Leases:
    """The table of leases.

    Args:
        on_change: Told each lease that comes or goes (before, after).

    Attributes:
        latest: Number of the latest lease of each backend, as far as this owner knows; only good to break ties.
    """

    def __init__(self, on_change: Callable[[LeaseRecord | None, LeaseRecord | None], None]) -> None:
        self._on_change = on_change
        self._of_session: dict[int, set[int]] = {}
        self.records = Table("leases", int, LeaseRecord, durable=False, on_change=self._changed)
        self.tables = (self.records,)
        self.latest: dict[str, int] = {}
        self._granted = 0

    def _changed(self, id: int, before: LeaseRecord | None, after: LeaseRecord | None) -> None:
        self._on_change(before, after)
        if before is not None:
            held = self._of_session[before.session]
            held.discard(id)
            if not held:
                del self._of_session[before.session]
        if after is not None:
            self._of_session.setdefault(after.session, set()).add(id)
            self.latest[after.backend] = id

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

    def end_session(self, session: int) -> None:
        """Take back the leases of a session."""
        for id in sorted(self._of_session.get(session, ())):
            self.records.delete(id)

    def forget(self, backend: str) -> None:
        """A backend was removed; its leases go on."""
        self.latest.pop(backend, None)

    def expire(self, now_s: float) -> None:
        """Take back the leases whose deadline has passed."""
        for id, lease in self.records.items():
            if lease.deadline_s <= now_s:
                self.records.delete(id)

    def held(self) -> list[HeldLease]:
        """All leases, oldest first."""
        return [HeldLease(id, lease) for id, lease in sorted(self.records.items())]
