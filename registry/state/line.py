"""The waiting line: requests for models whose backends are all busy.

The table is the whole of it. Kept beside it is, for each model, who waits in which order: a lower priority first, then
the session that was served longest ago, then who came first.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Iterator

import msgspec

from actors.tables import Table
from registry.state.records import WaitingRecord

CallId = tuple[int, int]
"""Session and number of the command that waits."""

Place = tuple[int, int, int]
"""Priority, when the session was served last, and number of arrival: the lowest is the first in line."""


class _ModelLine:
    """Those who wait for one model.

    Attributes:
        places: By priority and session, number of arrival and call, in order.
        served: Number of the latest lease that each session was given out of this line.
    """

    __slots__ = ("places", "served")

    def __init__(self) -> None:
        self.places: dict[tuple[int, int], list[tuple[int, CallId]]] = {}
        self.served: dict[int, int] = {}


class Line:
    """The table of those who wait."""

    def __init__(self) -> None:
        self.records: Table[CallId, WaitingRecord] = Table(
            "waiting_acquires", tuple[int, int], WaitingRecord, durable=False, on_change=self._changed
        )
        self.tables = (self.records,)
        self._models: dict[str, _ModelLine] = {}
        self._arrived = 0

    def _changed(self, call: CallId, before: WaitingRecord | None, after: WaitingRecord | None) -> None:
        session, _ = call
        if before is not None:
            line = self._models[before.model]
            key = (before.priority, session)
            places = line.places[key]
            del places[bisect_left(places, (before.arrival, call))]
            if not places:
                del line.places[key]
            if not line.places:
                del self._models[before.model]
        if after is not None:
            line = self._models.setdefault(after.model, _ModelLine())
            insort(line.places.setdefault((after.priority, session), []), (after.arrival, call))

    @property
    def models(self) -> list[str]:
        """The models for which somebody waits."""
        return list(self._models)

    def waiting(self, model: str) -> int:
        """How many wait for a model."""
        line = self._models.get(model)
        return 0 if line is None else sum(map(len, line.places.values()))

    def in_order(self, model: str) -> Iterator[tuple[Place, CallId, WaitingRecord]]:
        """Those who wait for a model, the first in line first. Whoever changes the line must begin anew."""
        line = self._models.get(model)
        if line is None:
            return
        served = line.served
        heads = sorted(
            (priority, served.get(session, 0), places[0], places) for (priority, session), places in line.places.items()
        )
        for priority, latest, _, places in heads:
            for arrival, call in places:
                record = self.records.get(call)
                if record is not None:
                    yield (priority, latest, arrival), call, record

    def join(self, call: CallId, waiting: WaitingRecord, epoch: int) -> None:
        """Take the next place."""
        self._arrived += 1
        self.records.put(call, msgspec.structs.replace(waiting, arrival=(epoch << 40) + self._arrived))

    def leave(self, call: CallId) -> None:
        """Somebody does not wait any more."""
        self.records.delete(call)

    def serve(self, call: CallId, lease: int) -> None:
        """Somebody is given a lease: out of the line, and the session behind the others."""
        waiting = self.records.get(call)
        if waiting is not None:
            self._models[waiting.model].served[call[0]] = lease
            self.records.delete(call)

    def forget(self, session: int) -> None:
        """A session has ended."""
        for line in self._models.values():
            line.served.pop(session, None)
