"""The history in the journal: what each turn changed, for as long as the bounds allow."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing
from typing import Any

import msgspec

from actors.errors import UNDECODABLE, Compacted, StorageUnavailable
from actors.history import StoredChange, StoredStep
from actors.journal import SavedRow, Step
from actors.tables import Change
from registry.stores.files import plain
from registry.stores.schema import HISTORY_SINCE, Damage, format_of

MAX_TURNS = 10_000
"""Turns that are kept at least, if they are not longer than `MAX_BYTES` together."""

MAX_BYTES = 32 * 1024 * 1024
"""Length of the texts that are kept at least."""

SLACK_TURNS = 100
"""So many turns, or `SLACK_BYTES`, go at a time: a turn in a hundred pays for it, and little."""

SLACK_BYTES = 1024 * 1024

_READ_AT_A_TIME = 100
_READ_BYTES = 1024 * 1024
"""So many turns, or a little more than so many bytes of them, are read at a time."""


class _Change(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    """`StoredChange` as it stands in the file.

    Attributes:
        table: The table's name.
        key: The key.
        after: The record after.
        was: Of a record that has names for its fields, those that were different before. Most changes leave most of
            a record as it was, and need not write it twice.
        before: Else the record before.
    """

    table: str
    key: Any
    after: Any = None
    was: dict[str, Any] | None = None
    before: Any = None


class _Step(msgspec.Struct, frozen=True, gc=False):
    """`StoredStep` as it stands in the file; rows of an earlier version do not say by whom."""

    revision: int
    session: int
    cause: str
    wall_s: float
    changes: list[_Change]
    by: str = ""


_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(list[_Step]).decode

Writes = list[tuple[str, dict[str, str | None]]]
"""Table, and in it key and record (None: deleted), all either set or deleted."""


def encode_turn(steps: Sequence[Step]) -> tuple[bytes, Writes]:
    """A turn as text for its row in the history, and what it does to the tables."""
    encoded = []
    writes: Writes = []
    latest: tuple[str, bool] | None = None
    for step in steps:
        changes = []
        for change in step.changes:
            name = change.table.name
            key = _encode(change.key)
            after = None if change.after is None else _encode(change.after)
            changes.append(_Change(name, msgspec.Raw(key), after and msgspec.Raw(after), *_before(change)))
            # A key that is deleted and set again has its place at the end, as in the table; one that is set twice
            # has the place of the first time and the record of the second.
            if latest != (latest := (name, after is None)):
                writes.append((name, {}))
            writes[-1][1][key.decode()] = None if after is None else after.decode()
        encoded.append(_Step(step.revision, step.session, step.cause, step.wall_s, changes, step.by))
    return _encode(encoded), writes


def encode_rows(rows: Sequence[SavedRow]) -> Writes:
    """What rows of saved tables do to the tables."""
    kept: dict[str, dict[str, str | None]] = {}
    deleted: dict[str, dict[str, str | None]] = {}
    for name, key, record in rows:
        writes = deleted if record is None else kept
        writes.setdefault(name, {})[_encode(key).decode()] = None if record is None else _encode(record).decode()
    return [*deleted.items(), *kept.items()]


def _before(change: Change) -> tuple[dict[str, Any] | None, Any]:
    """`was` and `before`."""
    before, after = change.before, change.after
    if not (isinstance(before, msgspec.Struct) and type(before) is type(after)) or before.__struct_config__.array_like:
        return None, before
    fields = zip(before.__struct_fields__, before.__struct_encode_fields__, strict=True)
    was = {encoded: value for field, encoded in fields if (value := getattr(before, field)) != getattr(after, field)}
    return was, None


def _stored(step: _Step) -> StoredStep:
    changes = (
        StoredChange(
            change.table,
            change.key,
            change.before if change.was is None else {**change.after, **change.was},
            change.after,
        )
        for change in step.changes
    )
    return StoredStep(step.revision, step.session, step.cause, step.wall_s, tuple(changes), step.by)


class HistoryTable:
    """Keeps the bounds of the history.

    Args:
        db: The open file.

    Raises:
        sqlite3.Error: It cannot be read.
    """

    def __init__(self, db: sqlite3.Connection) -> None:
        self._turns, self._bytes = db.execute("SELECT count(*), ifnull(sum(size), 0) FROM history").fetchone()

    def append(self, db: sqlite3.Connection, steps: Sequence[Step], text: bytes) -> None:
        """Write the row of a turn, within its transaction; raises `sqlite3.Error`."""
        first, last = steps[0], steps[-1]
        row = (last.revision, first.revision, last.wall_s, len(text), text.decode())
        db.execute("INSERT INTO history VALUES (?, ?, ?, ?, ?)", row)

    def appended(self, db: sqlite3.Connection, text: bytes) -> None:
        """The transaction is stored: count its row, and let the oldest ones go once there are too many."""
        self._turns += 1
        self._bytes += len(text)
        if self._turns > MAX_TURNS + SLACK_TURNS or self._bytes > MAX_BYTES + SLACK_BYTES:
            self._compact(db)

    def _compact(self, db: sqlite3.Connection) -> None:
        turns, size, until = self._turns, self._bytes, 0
        try:
            # Not many more than come in the same time, even if far too many are there.
            oldest = db.execute("SELECT last, size FROM history ORDER BY last LIMIT ?", (2 * SLACK_TURNS,)).fetchall()
            for last, length in oldest:
                if (turns <= MAX_TURNS and size <= MAX_BYTES) or turns == 1:
                    break
                turns, size, until = turns - 1, size - length, last
            db.execute("DELETE FROM history WHERE last <= ?", (until,))
        except sqlite3.Error:
            # The turn is stored, and this can wait: whatever is wrong, the next turn will meet it and say so.
            return
        self._turns, self._bytes = turns, size


def oldest_revision(db: sqlite3.Connection) -> int:
    """The first revision from which on the history is whole; the next one to come if there is no history.

    Raises:
        sqlite3.Error: It cannot be read.
    """
    (oldest,) = db.execute(
        "SELECT ifnull((SELECT first FROM history ORDER BY last LIMIT 1), (SELECT revision + 1 FROM journal))"
    ).fetchone()
    return int(oldest)


def read_history(db: sqlite3.Connection, since: int) -> Iterator[StoredStep]:
    """The steps after a revision, in order; turns that are stored meanwhile come too.

    Raises:
        Compacted: The history does not reach back that far, or does not any more.
        StorageUnavailable: It cannot be read.
    """
    while True:
        try:
            # A piece at a time: no reading is under way when the next turn is stored.
            texts = _texts(db, since)
            oldest = oldest_revision(db)
            steps = [_stored(step) for text in texts for step in _decode(text)]
        except sqlite3.Error as error:
            raise StorageUnavailable(f"the history cannot be read: {plain(error)}") from error
        except UNDECODABLE as error:
            raise StorageUnavailable(f"the history is damaged: {error}") from error
        if since + 1 < oldest:
            raise Compacted(since, oldest)
        if not steps:
            return
        yield from (step for step in steps if step.revision > since)
        since = steps[-1].revision


def _texts(db: sqlite3.Connection, since: int) -> list[bytes]:
    """Turns that end after a revision, as they stand in the file: one at least, if there is one."""
    texts: list[bytes] = []
    size = 0
    with closing(db.cursor()) as cursor:
        query = "SELECT CAST(steps AS BLOB) FROM history WHERE last > ? ORDER BY last LIMIT ?"
        for (text,) in cursor.execute(query, (since, _READ_AT_A_TIME)):
            texts.append(text)
            size += len(text)
            if size > _READ_BYTES:
                break
    return texts


def check_history(db: sqlite3.Connection) -> None:
    """Read all of it.

    Raises:
        Damage: A row is not what is written there.
        sqlite3.Error: It cannot be read.
    """
    if format_of(db) < HISTORY_SINCE:
        return
    for last, text in db.execute("SELECT last, CAST(steps AS BLOB) FROM history"):
        try:
            _decode(text)
        except UNDECODABLE as error:
            raise Damage(f"in table 'history', row {last}: {error}") from error
