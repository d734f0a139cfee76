"""How many requests are in flight on each backend: live leases and raw increments."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from typing import TypeVar

from actors.tables import Table

logger = logging.getLogger(__name__)

K = TypeVar("K")
V = TypeVar("V")


class Pending:
    """The table of raw increments, and the numbers of requests in flight.

    Args:
        counts: Where the numbers of requests in flight are kept, by backend; those that are 0 are not in it.
        on_change: Told each new number (backend, requests in flight).
    """

    def __init__(self, counts: dict[str, int], on_change: Callable[[str, int], None]) -> None:
        self._on_change = on_change
        self.raw: Table[tuple[str, int], int] = Table(
            "raw_pending", tuple[str, int], int, durable=False, on_change=self._raw_changed
        )
        self._counts = counts
        self._of_session: dict[int, set[str]] = {}
        self._of_backend: dict[str, set[int]] = {}

    def __iter__(self) -> Iterator[str]:
        """The backends that have requests in flight."""
        return iter(self._counts)

    def of(self, backend: str) -> int:
        """Requests in flight on a backend."""
        return self._counts.get(backend, 0)

    def add(self, backend: str, amount: int) -> None:
        """Count leases that came or went, or increments."""
        counts = self._counts
        count = counts.get(backend, 0) + amount
        if count:
            counts[backend] = count
        else:
            del counts[backend]
        self._on_change(backend, count)

    def _raw_changed(self, key: tuple[str, int], before: int | None, after: int | None) -> None:
        backend, session = key
        if after is None:
            _discard(self._of_session, session, backend)
            _discard(self._of_backend, backend, session)
        elif before is None:
            self._of_session.setdefault(session, set()).add(backend)
            self._of_backend.setdefault(backend, set()).add(session)
        self.add(backend, (after or 0) - (before or 0))

    def increment(self, backend: str, session: int) -> int:
        """Count one more, on the account of a session; returns the new number."""
        key = (backend, session)
        self.raw.put(key, (self.raw.get(key) or 0) + 1)
        return self._counts[backend]

    def decrement(self, backend: str, session: int) -> int:
        """Count one less: of the session's own first, else of the session that has the most; never a lease."""
        holders = self._of_backend.get(backend)
        if not holders:
            logger.warning("decrement_pending of %s, which has no increment left", backend)
            return self.of(backend)
        holder = session
        if session not in holders:
            holder = max(sorted(holders), key=lambda one: self.raw.get((backend, one)) or 0)
        key = (backend, holder)
        count = self.raw.get(key) or 0
        if count > 1:
            self.raw.put(key, count - 1)
        else:
            self.raw.delete(key)
        return self.of(backend)

    def end_session(self, session: int) -> None:
        """Take back the increments of a session."""
        for backend in sorted(self._of_session.get(session, ())):
            self.raw.delete((backend, session))

    def forget(self, backend: str) -> None:
        """Take back the increments of a backend that is removed; leases on it go on."""
        for session in sorted(self._of_backend.get(backend, ())):
            self.raw.delete((backend, session))


def _discard(index: dict[K, set[V]], key: K, value: V) -> None:
    values = index[key]
    values.discard(value)
    if not values:
        del index[key]
