"""The journal in SQLite: the durable tables themselves and their recent history, one transaction a turn.

Tables that are only saved stand beside them; they have no history.
"""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from actors.errors import Compacted, StorageUnavailable
from actors.history import StoredStep
from actors.journal import Loaded, SavedRow, Step
from registry.kinds import Durability
from registry.stores.files import keep_private, open_database, plain
from registry.stores.history import (
    HistoryTable,
    Writes,
    encode_rows,
    encode_turn,
    oldest_revision,
    read_history,
)
from registry.stores.recovery import finish_recovery
from registry.stores.schema import (
    AnyTable,
    bring_up_to_date,
    check,
    position,
    refuse_emptied,
    refuse_newer,
    rows,
    usable,
)

SYNCHRONOUS = {Durability.PROCESS: "NORMAL", Durability.POWER: "FULL"}
"""What SQLite is told."""


class SqliteJournal:
    """A file with one SQL table for each durable table: key and record as JSON text, to be read by people too.

    Args:
        path: The file; made if it is not there.
        tables: The actor's tables, of which the durable and the saved ones are stored.
        durability: What a stored turn outlives.

    Raises:
        JournalDamaged: The file is damaged, or a newer version wrote it; nothing was changed in it.
        StartFailed: The file cannot be opened.
    """

    def __init__(self, path: Path, tables: Sequence[AnyTable], durability: Durability = Durability.PROCESS) -> None:
        self._path = path
        self._tables = tables
        self._synchronous = SYNCHRONOUS[durability]
        self._db: sqlite3.Connection | None = None
        with usable(path):
            finish_recovery(path)
            path.touch(mode=0o600)
            keep_private(path)
            self._check()
            self._db = open_database(path, "rw", self._synchronous)
            with contextlib.ExitStack() as unless_prepared:
                unless_prepared.callback(self.close)
                bring_up_to_date(self._db, tables)
                self._history = HistoryTable(self._db)
                unless_prepared.pop_all()

    def _check(self) -> None:
        """Refuse what is damaged, through a connection that cannot change it."""
        if not self._path.stat().st_size:
            refuse_emptied(self._path)
            return
        with contextlib.closing(open_database(self._path, "ro")) as db:
            refuse_newer(self._path, db)
            check(db, self._path, self._tables)

    def load(self) -> Loaded:
        """Everything stored. Records are of their tables' types: what does not fit raises `JournalDamaged`."""
        with usable(self._path):
            db = self._connected()
            revision, turn = position(db)
        return Loaded(self._rows(db), revision, turn)

    def _rows(self, db: sqlite3.Connection) -> Iterator[tuple[str, Any, Any]]:
        with usable(self._path):
            yield from rows(db, self._tables)

    def commit(self, steps: Sequence[Step], turn: int, record: bytes, saved: Sequence[SavedRow] = ()) -> None:
        """Store a turn, wholly or not at all; raises `StorageUnavailable`."""
        text, writes = encode_turn(steps)
        writes += encode_rows(saved)
        try:
            db = self._connected()
            db.execute("BEGIN IMMEDIATE")
            _write(db, writes)
            self._history.append(db, steps, text)
            db.execute("UPDATE journal SET revision = ?, turn = ?, record = ?", (steps[-1].revision, turn, record))
            db.execute("COMMIT")
        except sqlite3.Error as error:
            self._disconnect()
            raise StorageUnavailable(plain(error)) from error
        self._history.appended(db, text)

    def save(self, rows: Sequence[SavedRow]) -> None:
        """Write rows of saved tables; raises `StorageUnavailable`."""
        writes = encode_rows(rows)
        try:
            db = self._connected()
            db.execute("BEGIN IMMEDIATE")
            _write(db, writes)
            db.execute("COMMIT")
        except sqlite3.Error as error:
            self._disconnect()
            raise StorageUnavailable(plain(error)) from error

    def holds(self, turn: int) -> bool:
        """Open the file anew and look whether this turn is the latest one in it; raises `StorageUnavailable`."""
        self._disconnect()
        try:
            stored = self._connected().execute("SELECT turn FROM journal").fetchone()
        except sqlite3.Error as error:
            self._disconnect()
            raise StorageUnavailable(plain(error)) from error
        return bool(stored == (turn,))

    def oldest_revision(self) -> int:
        """The first revision from which on the history is whole; raises `StorageUnavailable`."""
        try:
            return oldest_revision(self._connected())
        except sqlite3.Error as error:
            raise StorageUnavailable(plain(error)) from error

    def history(self, since: int) -> Iterator[StoredStep]:
        """The steps after a revision, in order.

        Raises:
            Compacted: The history does not reach back that far.
            StorageUnavailable: It cannot be read.
        """
        oldest = self.oldest_revision()
        if since + 1 < oldest:
            raise Compacted(since, oldest)
        return read_history(self._connected(), since)

    def close(self) -> None:
        """Finish, leaving everything in the file."""
        self._disconnect()

    def _connected(self) -> sqlite3.Connection:
        """The open file; opened anew after a failure, since a connection made while the disk was read-only stays so."""
        if self._db is None:
            self._db = open_database(self._path, "rw", self._synchronous)
        return self._db

    def _disconnect(self) -> None:
        """Close the file; what a transaction has not stored is undone with it."""
        db, self._db = self._db, None
        if db is not None:
            with contextlib.suppress(sqlite3.Error):
                if db.in_transaction:
                    db.execute("ROLLBACK")
            db.close()


def _write(db: sqlite3.Connection, writes: Writes) -> None:
    for name, records in writes:
        if None in records.values():
            db.executemany(f'DELETE FROM "{name}" WHERE key = ?', [(key,) for key in records])  # noqa: S608 - our own names
        else:
            db.executemany(
                f'INSERT INTO "{name}" VALUES (?, ?) ON CONFLICT (key) DO UPDATE SET record = excluded.record',  # noqa: S608 - our own names
                records.items(),
            )
