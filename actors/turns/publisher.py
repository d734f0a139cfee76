"""What the processes that keep a copy of the views are told, without any sockets.

Who follows gets a snapshot in pieces, and then what has changed since. What it has changed itself, and every durable
change before an answer, it is told in the same turn; the rest is gathered for a moment, so that a key which changes a
thousand times in it is sent once. What has changed in a lazy view waits until its reader asks for it. Only keys are
noted; the rows are those of the moment at which they are sent.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

from actors import frames
from actors.clock import Clock
from actors.frames import Follow, Resync, Snapshot, Update
from actors.tables import Change
from actors.turns.recent import Latest, Noted, Recent
from actors.turns.rows import Row, TooLong, in_place, pieces
from actors.turns.subscriber import Subscriber
from actors.turns.syncs import Syncs
from actors.turns.turn import Turn
from actors.views import View

GATHER_S = 0.01
"""How long others' changes are gathered before they are sent;"""

SHARE = 20
"""longer if it takes long to send them to so many: it is done in one part of so many of the owner's time."""

UPDATE_BYTES = 256 * 1024
"""A message of updates ends with the row that makes it longer than this."""

PIECE_BYTES = 48 * 1024
"""The same of a piece of a snapshot: it fits a packet, and is made quickly."""

FEW_ROWS = 200
"""A snapshot is completed in one go once no more than so many rows have changed while it was sent,"""

MOST_ROUNDS = 4
"""or the changes made meanwhile have been sent so often."""

MAX_NOTED = 50_000
"""If so many keys have changed since a snapshot began, it begins anew; if so many of lazy views, who asks for them is
sent a snapshot."""


class Publisher:
    """Knows who keeps a copy, and what each must still be told.

    Args:
        views: What can be copied.
        clock: The time.

    Attributes:
        subscribers: Those who follow, by session.
        joining: Those of them who have no whole copy yet.
        gather_s: How long changes are gathered before they are sent.
        syncs: Those who want their copies brought up to date.
        due_at: When `updates` should be sent, on the monotonic clock; infinite if there is nothing to send.
        revision: The latest that is stored.
    """

    def __init__(self, views: Sequence[View[Any, Any]], clock: Clock) -> None:
        self.subscribers: dict[int, Subscriber] = {}
        self.joining: dict[int, Subscriber] = {}
        self.gather_s = GATHER_S
        self.due_at = math.inf
        self.revision = 0
        self._views = views
        self._clock = clock
        self.syncs = Syncs(clock)
        self._lasting: Recent[Row] = Recent()
        self._passing: Recent[Row] = Recent()
        self._lazy: Latest[Row] = Latest()
        self._lazy_from = 0  # what has changed before this number is not known any more
        self._by_table: dict[str, list[tuple[int, View[Any, Any], Callable[[Change], Iterable[Any]]]]] = {}
        for number, view in enumerate(views):
            for table, keys_of in view.keys_of.items():
                self._by_table.setdefault(table, []).append((number, view, keys_of))
        self._own: dict[int, set[Row]] = {}

    @property
    def active(self) -> bool:
        """Whether there is anybody to be told something."""
        return bool(self.subscribers or self.syncs)

    # -- what happens ----------------------------------------------------------------------------------------

    def follow(self, session: int, follow: Follow) -> None:
        """A session wants a copy, or wants it anew."""
        self.subscribers[session] = self.joining[session] = Subscriber(follow)

    def end(self, session: int) -> None:
        """A session is over."""
        self.syncs.end(session)
        if self.subscribers.pop(session, None) is not None:
            self.joining.pop(session, None)
            self._forget()

    def stored(self, turn: Turn) -> None:
        """This turn is stored: note what it has changed, and for whom."""
        changes, deeds = turn.changes, turn.deeds
        if not deeds:
            return
        before = self._lasting.latest + self._passing.latest
        ends = [deed.start for deed in deeds[1:]] + [len(changes)]
        for deed, end in zip(deeds, ends, strict=True):
            passing: set[Row] = set()
            for change in changes[deed.start : end]:
                self._note(change, passing)
            if passing:
                for session, _, _ in deed.answers:
                    if session in self.subscribers:
                        self._own.setdefault(session, set()).update(passing)
        if self.due_at == math.inf and (turn.steps or self._lasting.latest + self._passing.latest > before):
            self.due_at = self._clock.monotonic() + self.gather_s

    def _note(self, change: Change, passing: set[Row]) -> None:
        """Note the rows that a change touches, and in `passing` those that are sent before its answer because of it."""
        table = change.table
        for number, view, keys_of in self._by_table.get(table.name, ()):
            keys = keys_of(change)
            if view.type.lazy:
                for key in keys:
                    self._lazy.note((number, key))
                continue
            arrived = change.before is None and table is view.ordered_by
            for key in keys:
                if view.type.durable:
                    self._lasting.note((number, key), arrived=arrived)
                else:
                    self._passing.note((number, key), arrived=arrived)
                    passing.add((number, key))

    def speak(self, out: dict[int, list[bytes]], revision: int) -> None:
        """Put before the answers that leave now what their readers must know to understand them.

        That is every durable change so far, and whatever the answered commands have changed. Before the answers to
        those who want their copies brought up to date it is everything.

        Args:
            out: The encoded frames, by session.
            revision: The latest that is stored.
        """
        self.revision = revision
        if self.syncs:
            self._answer_syncs(out)
        for session in out.keys() & self.subscribers.keys():
            subscriber = self.subscribers[session]
            if subscriber.complete:
                own = self._own.get(session, ())
                before = self._frames(session, subscriber, [Noted(row, 0, 0) for row in own])
                if before:
                    out[session] = before + out[session]
        self._own.clear()

    def _answer_syncs(self, out: dict[int, list[bytes]]) -> None:
        for session, refusal in self.syncs.refusals(self.revision):
            out.setdefault(session, []).append(refusal)
        for session in list(self.syncs.waiting):
            before, answers = self._synced(session)
            if before or answers:
                out[session] = [*before, *out.get(session, ()), *answers]
                self._own.pop(session, None)

    def _synced(self, session: int) -> tuple[list[bytes], list[bytes]]:
        """What brings a copy up to date, and the encoded Answers that say so; none as long as it is not whole."""
        subscriber = self.subscribers.get(session)
        if subscriber is None:  # without a copy there is nothing to wait for
            return [], self.syncs.answers(session, self.revision)
        if not subscriber.complete:
            return [], []
        if subscriber.lazy_at < self._lazy_from:
            return self._stick(session, subscriber), []
        noted = in_place(self._passing.since(subscriber.passing_at), subscriber.passing_at)
        noted += in_place(self._lazy.since(subscriber.lazy_at), subscriber.lazy_at)
        before = self._frames(session, subscriber, noted)
        if session in self.joining:  # a row was too long
            return before, []
        subscriber.passing_at = self._passing.latest
        subscriber.lazy_at = self._lazy.latest
        return before, self.syncs.answers(session, self.revision)

    def _lags(self, subscriber: Subscriber) -> bool:
        return subscriber.complete and (
            subscriber.lasting_at < self._lasting.latest
            or subscriber.passing_at < self._passing.latest
            or subscriber.revision < self.revision
        )

    # -- updates ---------------------------------------------------------------------------------------------

    def updates(self) -> Iterator[tuple[int, list[bytes]]]:
        """Session and messages for each that lags; they must be sent in this order, or else a `Resync`."""
        self.due_at = math.inf
        alike: dict[tuple[int, int], list[bytes]] = {}
        for session, subscriber in self.subscribers.items():
            if self._lags(subscriber):
                position = (subscriber.lasting_at, subscriber.passing_at)
                messages = alike.get(position)
                if messages is None:
                    changed = in_place(self._passing.since(subscriber.passing_at), subscriber.passing_at)
                    messages = alike[position] = [
                        frames.ONE + frame for frame in self._frames(session, subscriber, changed)
                    ]
                subscriber.lasting_at = self._lasting.latest
                subscriber.passing_at = self._passing.latest
                subscriber.revision = self.revision
                subscriber.spoken_to = True
                yield session, messages
        self._forget()

    def beat(self) -> Iterator[tuple[int, list[bytes]]]:
        """A sign of life for each that has heard nothing since the last one."""
        now = self._clock.monotonic()
        for session, subscriber in self.subscribers.items():
            if subscriber.complete and not subscriber.spoken_to:
                yield session, [frames.encode([Update(subscriber.revision, [], more=False, at_s=now)])]
            subscriber.spoken_to = False
        self._forget()

    def _frames(self, session: int, subscriber: Subscriber, passing: Sequence[Noted[Row]]) -> list[bytes]:
        """The encoded Updates with all durable changes since, and some others; from now on it knows the former."""
        noted = passing
        if subscriber.lasting_at < self._lasting.latest:
            noted = [*in_place(self._lasting.since(subscriber.lasting_at), subscriber.lasting_at), *passing]
        if not noted and subscriber.revision == self.revision:
            return []
        subscriber.lasting_at = self._lasting.latest
        subscriber.revision = self.revision
        subscriber.spoken_to = True
        try:
            parts = list(pieces(self._views, noted, UPDATE_BYTES)) or [[]]
        except TooLong:
            return self._stick(session, subscriber)
        last = len(parts) - 1
        now = self._clock.monotonic()
        return [frames.encode(Update(self.revision, rows, at < last, now)) for at, rows in enumerate(parts)]

    def _forget(self) -> None:
        begun = [one for one in self.subscribers.values() if one.complete or one.rest is not None]
        self._lasting.forget(min((one.lasting_at for one in begun), default=self._lasting.latest))
        self._passing.forget(min((one.passing_at for one in begun), default=self._passing.latest))
        self._lazy.forget(min((one.lazy_at for one in begun), default=self._lazy.latest))
        if len(self._lazy) > MAX_NOTED:
            self._lazy.forget(self._lazy.latest)
            self._lazy_from = self._lazy.latest
        if len(self._lasting) + len(self._passing) > MAX_NOTED:
            for subscriber in self.joining.values():
                subscriber.begin_anew()

    # -- snapshots -------------------------------------------------------------------------------------------

    def can_go_on(self, session: int) -> bool:
        """Whether there is a piece of a snapshot to be sent to one that is joining."""
        return self.joining[session].stuck_at != self._lasting.latest

    def piece(self, session: int) -> list[bytes]:
        """The next messages of the snapshot for a session: one piece, or all that is left of a little."""
        subscriber = self.subscribers[session]
        try:
            messages = [frames.encode([piece]) for piece in self._next_pieces(subscriber)]
        except TooLong:
            self._stick(session, subscriber)
            return []
        if subscriber.complete:
            del self.joining[session]
            if session in self.syncs.waiting:
                before, answers = self._synced(session)
                messages += [frames.ONE + frame for frame in before + answers]
            self._forget()
        return messages

    def _stick(self, session: int, subscriber: Subscriber) -> list[bytes]:
        """Nothing can be sent to it until it follows anew, or something durable has changed; what is said to it."""
        subscriber.begin_anew()
        subscriber.stuck_at = self._lasting.latest
        self.joining[session] = subscriber
        return [frames.encode(Resync())]

    def _next_pieces(self, subscriber: Subscriber) -> Iterator[Snapshot]:
        counter = subscriber.follow.counter
        now = self._clock.monotonic()
        if subscriber.rest is None:
            yield Snapshot(counter, self._begin(subscriber), [], False, self.revision, now)
            return
        piece = next(pieces(self._views, subscriber.rest, PIECE_BYTES), None)
        if piece is not None:
            yield Snapshot(counter, None, piece, False, self.revision, now)
            return
        changed = self._changed_since(subscriber)
        subscriber.lasting_at = self._lasting.latest
        subscriber.passing_at = self._passing.latest
        subscriber.rounds += 1
        if len(changed) > FEW_ROWS and subscriber.rounds < MOST_ROUNDS:
            subscriber.rest = iter(changed)
            return
        for rows in list(pieces(self._views, changed, UPDATE_BYTES)):
            yield Snapshot(counter, None, rows, False, self.revision, now)
        yield Snapshot(counter, None, [], True, self.revision, now)
        subscriber.revision = self.revision
        subscriber.complete = subscriber.spoken_to = True
        subscriber.rest = None

    def _begin(self, subscriber: Subscriber) -> list[str]:
        """Begin with what is there; returns the names of the views that are sent."""
        same = subscriber.follow.revision == self.revision
        sent = [(number, view) for number, view in enumerate(self._views) if not (same and view.type.durable)]
        subscriber.lasting_at = self._lasting.latest
        subscriber.passing_at = self._passing.latest
        subscriber.lazy_at = self._lazy.latest
        subscriber.rest = iter([Noted((number, key), 0, 1) for number, view in sent for key in view.all_keys()])
        return [view.type.name for _, view in sent]

    def _changed_since(self, subscriber: Subscriber) -> list[Noted[Row]]:
        lasting = in_place(self._lasting.since(subscriber.lasting_at), subscriber.lasting_at)
        return lasting + in_place(self._passing.since(subscriber.passing_at), subscriber.passing_at)
