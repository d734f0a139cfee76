"""What is expected of a registry: a model of it, in plain dictionaries, that is too simple to be wrong."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Any, NamedTuple

import msgspec

from registry.kinds import BackendStatus
from registry.state.records import BackendRecord, Grant
from tests.registry.state.lives import Call


class Waiting(NamedTuple):
    """A request that waits, as the model knows it."""

    model: str
    exclude: tuple[str, ...]
    priority: int
    deadline_s: float


class Expected:
    """The model.

    Attributes:
        revision: Number of the latest durable change.
        backends: As they should be, but for the time of their latest check.
        raw: Increments by backend and session.
        leases: By number, with the session that holds each.
        waiting: Who waits.
        totals: Requests that have ended, by backend.
        averages: Average latency, by backend.
    """

    def __init__(self) -> None:
        self.revision = 0
        self.backends: dict[str, BackendRecord] = {}
        self.raw: Counter[tuple[str, int]] = Counter()
        self.leases: dict[int, tuple[Grant, int]] = {}
        self.waiting: dict[Call, Waiting] = {}
        self.totals: Counter[str] = Counter()
        self.averages: Counter[str] = Counter()

    def changed(self, id: str, /, **fields: Any) -> None:
        """Fields of a backend are these from now on; if that is a change it takes a revision."""
        before = self.backends[id]
        after = msgspec.structs.replace(before, **fields)
        if after != before:
            self.revision += 1
            self.backends[id] = msgspec.structs.replace(after, revision=self.revision)

    def forget_backend(self, id: str) -> None:
        """A backend is removed; leases on it go on."""
        del self.backends[id]
        del self.totals[id], self.averages[id]
        for key in [key for key in self.raw if key[0] == id]:
            del self.raw[key]
        self.revision += 1

    def forget_session(self, session: int) -> None:
        """A session ends, and with it all it held and waited for."""
        self.waiting = {call: waiting for call, waiting in self.waiting.items() if call[0] != session}
        self.leases = {id: held for id, held in self.leases.items() if held[1] != session}
        for key in [key for key in self.raw if key[1] == session]:
            del self.raw[key]

    def having(self, model: str) -> set[str]:
        return {id for id, record in self.backends.items() if any(one.id == model for one in record.models)}

    def candidates(self, model: str, exclude: tuple[str, ...]) -> set[str]:
        return {id for id in self.having(model) - {*exclude} if self.backends[id].status is BackendStatus.HEALTHY}

    def pending(self, id: str) -> int:
        raw = sum(count for (of, _), count in self.raw.items() if of == id)
        return raw + sum(grant.backend == id for grant, _ in self.leases.values())

    def is_full(self, id: str) -> bool:
        limit = self.backends[id].max_concurrency
        return limit is not None and self.pending(id) >= limit

    def loads(self, ids: Iterable[str]) -> dict[str, float]:
        """Of these, those that may have one more request, and how busy each is."""
        return {id: self.pending(id) / self.backends[id].weight for id in ids if not self.is_full(id)}
