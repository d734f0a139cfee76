"""A process's own copy of the actor's views, without any I/O: rows by view and key, and what the owner says of them.

The copy is complete from the end of a snapshot until updates are missing, or another owner begins; then a new snapshot
is asked for, and until it has arrived the owner is asked for what is to be read.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Protocol

import msgspec

from actors.clock import Clock
from actors.frames import Follow, Rows, Snapshot, Update
from actors.statistics import ReplicaStatistics
from actors.views import ViewType

LOOK_AFTER_S = 0.001
"""How long reads go on from the copy before it is looked whether something new has come."""


class Listener(Protocol):
    """Keeps what is derived from a copy."""

    def changed(self, view: str, key: Any, record: Any) -> None:
        """A record is now this one; None if it is gone. One that goes to the end of the order is gone before."""

    def cleared(self, view: str) -> None:
        """There is no record in this view any more."""


class _Nobody:
    def changed(self, view: str, key: Any, record: Any) -> None:
        """Derive nothing."""

    def cleared(self, view: str) -> None:
        """Derive nothing."""


class _View:
    """A view's rows."""

    def __init__(self, type: ViewType) -> None:
        self.type = type
        self.rows: dict[Any, Any] = {}
        self.decode = msgspec.msgpack.Decoder(tuple[type.key, type.record | None]).decode  # type: ignore[name-defined]


class Replica:
    """The copy. Whoever uses it from several threads holds the client's lock.

    Args:
        types: The views, as the owner has them.
        clock: The time.
        listener: Keeps what is derived from the copy.

    Attributes:
        following: Whether a copy is wanted: from the first read on.
        complete: Whether the copy is whole.
        current_until: Until this instant it may be read from without a look whether something new has come.
    """

    def __init__(self, types: Sequence[ViewType], clock: Clock, listener: Listener | None = None) -> None:
        self._views = {type.name: _View(type) for type in types}
        self._clock = clock
        self._listener = listener or _Nobody()
        self._begin()

    def _begin(self) -> None:
        self.following = self.complete = False
        self.current_until = 0.0
        self._counter = 0
        self._epoch = 0
        self._revision: int | None = None
        self._spoke_at: float | None = None
        self._gathered: list[Rows] = []
        self._arriving: dict[str, dict[Any, Any]] | None = None
        self._renewed: list[str] = []
        self._changed: dict[tuple[str, Any], None] = {}
        self._resyncs = self._snapshots = self._updates = 0

    def rows(self, view: str) -> dict[Any, Any]:
        """The records of a view by key, in the owner's order; not to be changed."""
        return self._views[view].rows

    @property
    def revision(self) -> int | None:
        """That of the durable views; None if they are not whole."""
        return self._revision

    def statistics(self) -> ReplicaStatistics:
        """A snapshot."""
        return ReplicaStatistics(
            complete=self.complete,
            epoch=self._epoch,
            revision=self._revision,
            rows=sum(len(view.rows) for view in self._views.values()),
            age_s=None if self._spoke_at is None else max(0.0, self._clock.monotonic() - self._spoke_at),
            resyncs=self._resyncs,
            snapshots=self._snapshots,
            updates=self._updates,
        )

    # -- what is said ----------------------------------------------------------------------------------------

    def follow(self) -> Follow:
        """Ask for the copy, or ask anew: what is still under way for an earlier question is void."""
        self.following = True
        self.incomplete()
        self._counter += 1
        return Follow(self._counter, self._revision)

    def incomplete(self) -> None:
        """Nothing may be read from the copy until it is whole again."""
        self.complete = False
        self.current_until = 0.0
        self._arriving = None
        self._gathered = []

    def forget(self) -> None:
        """Another session begins: the copy is empty, and nobody has asked for it."""
        self._begin()
        for view in self._views.values():
            view.rows.clear()
            self._listener.cleared(view.type.name)

    # -- what is heard ---------------------------------------------------------------------------------------

    def resync(self) -> Follow:
        """Updates are missing; returns what is to be said."""
        self._resyncs += 1
        return self.follow()

    def update(self, update: Update) -> None:
        """Take an update; it counts with the last one of those that belong together."""
        if not self.complete:
            return
        self._spoke_at = update.at_s
        self._gathered += update.rows
        if update.more:
            return
        gathered, self._gathered = self._gathered, []
        self._updates += bool(gathered)
        self._revision = None  # should this be interrupted, the rows are of no revision at all
        for rows in gathered:
            self._apply(rows)
        self._revision = update.revision

    def _apply(self, rows: Rows) -> None:
        view = self._views[rows.view]
        known = view.rows
        for raw in rows.changed:
            key, record = view.decode(raw)
            if record is None:
                known.pop(key, None)
            else:
                known[key] = record
            self._listener.changed(rows.view, key, record)
        for raw in rows.arrived:
            key, record = view.decode(raw)
            if known.pop(key, None) is not None:
                self._listener.changed(rows.view, key, None)
            if record is not None:
                known[key] = record
                self._listener.changed(rows.view, key, record)

    def snapshot(self, piece: Snapshot, epoch: int) -> None:
        """Take a piece of a snapshot.

        Args:
            piece: What the owner says.
            epoch: Number of its life.
        """
        if piece.counter != self._counter or self.complete:
            return
        self._spoke_at = piece.at_s
        if piece.renewed is not None:
            if self._revision is None and self._views.keys() - set(piece.renewed):
                return  # this owner does not have all of the views
            self._renewed = piece.renewed
            self._arriving = {name: {} if name in piece.renewed else dict(self.rows(name)) for name in self._views}
            self._changed = {}
        if self._arriving is None:
            return
        for rows in piece.rows:
            self._gather(rows, self._arriving[rows.view])
        if piece.complete:
            self._complete(self._arriving, piece.revision)
            self._epoch = epoch

    def _gather(self, rows: Rows, arriving: dict[Any, Any]) -> None:
        decode = self._views[rows.view].decode
        kept = rows.view not in self._renewed
        for raw, arrived in _in_order(rows):
            key, record = decode(raw)
            if record is None or arrived:
                arriving.pop(key, None)
            if record is not None:
                arriving[key] = record
            if kept:
                self._changed[rows.view, key] = None

    def _complete(self, arriving: dict[str, dict[Any, Any]], revision: int) -> None:
        self._arriving = None
        self._revision = None
        for name, view in self._views.items():
            view.rows = arriving[name]
            if name in self._renewed:
                self._listener.cleared(name)
                for key, record in view.rows.items():
                    self._listener.changed(name, key, record)
        for name, key in self._changed:
            self._listener.changed(name, key, None)
            self._listener.changed(name, key, self.rows(name).get(key))
        self._revision = revision
        self._snapshots += 1
        self.complete = True


def _in_order(rows: Rows) -> Iterable[tuple[msgspec.Raw, bool]]:
    yield from ((raw, False) for raw in rows.changed)
    yield from ((raw, True) for raw in rows.arrived)
