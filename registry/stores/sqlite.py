"""The journal in SQLite: the durable tables themselves, one transaction a turn."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec

from actors.errors import StartFailed, StorageUnavailable
from actors.journal import Loaded, Step
from actors.tables import Change, Table

BUSY_TIMEOUT_S = 0.5
"""How long a turn waits for somebody else who writes to the file; nobody should."""

FORMAT = 1
"""Version of the file; a newer one is refused."""


class SqliteJournal:
    """A file with one SQL table for each durable table: key and record as JSON text, to be read by people too.

    Args:
        path: The file; made if it is not there.
        tables: The actor's tables, of which the durable ones are stored.

    Raises:
        StartFailed: The file cannot be opened, is damaged or of a newer format.
    """

    def __init__(self, path: Path, tables: Sequence[Table[Any, Any]]) -> None:
        self._path = path
        self._tables = [table.name for table in tables if table.durable]
        self._encode = msgspec.json.Encoder().encode
        try:
            path.touch(mode=0o600)
            self._db = sqlite3.connect(path, timeout=BUSY_TIMEOUT_S, isolation_level=None)
            with contextlib.ExitStack() as unless_prepared:
                unless_prepared.callback(self._db.close)
                self._prepare()
                unless_prepared.pop_all()
        except (OSError, sqlite3.Error) as error:
            reason = f"the journal {path} cannot be used: {error}"
            raise StartFailed(reason) from error

    def _prepare(self) -> None:
        db = self._db
        found = db.execute("PRAGMA user_version").fetchone()[0]
        if found > FORMAT:
            reason = (
                f"the journal {self._path} has format {found}, this version knows up to {FORMAT}:"
                " a newer actor-registry wrote it"
            )
            raise StartFailed(reason)
        db.execute("PRAGMA synchronous = NORMAL")
        if found == FORMAT:
            return  # nothing to write: the owner must start on a full disk too, and serve what it has
        db.execute("PRAGMA journal_mode = WAL")
        for name in self._tables:
            db.execute(f'CREATE TABLE IF NOT EXISTS "{name}" (key TEXT PRIMARY KEY, record TEXT NOT NULL)')
        db.execute(
            "CREATE TABLE IF NOT EXISTS journal"
            " (one INTEGER PRIMARY KEY CHECK (one = 1), revision INTEGER NOT NULL, turn INTEGER, record BLOB)"
        )
        db.execute("INSERT OR IGNORE INTO journal VALUES (1, 0, NULL, NULL)")
        db.execute(f"PRAGMA user_version = {FORMAT}")

    def load(self) -> Loaded:
        """Everything stored."""
        revision, turn, record = self._db.execute("SELECT revision, turn, record FROM journal").fetchone()
        return Loaded(self._rows(), revision, None if turn is None else (turn, record))

    def _rows(self) -> Iterator[tuple[str, Any, Any]]:
        decode = msgspec.json.decode
        try:
            for name in self._tables:
                for key, record in self._db.execute(f'SELECT key, record FROM "{name}" ORDER BY rowid'):  # noqa: S608 - our own names
                    yield name, decode(key), decode(record)
        except (sqlite3.Error, msgspec.DecodeError) as error:
            reason = f"the journal {self._path} is damaged: {error}"
            raise StartFailed(reason) from error

    def commit(self, steps: Sequence[Step], turn: int, record: bytes) -> None:
        """Store a turn, wholly or not at all; raises `StorageUnavailable`."""
        db = self._db
        try:
            db.execute("BEGIN IMMEDIATE")
            for change in (change for step in steps for change in step.changes):
                self._write(change)
            db.execute("UPDATE journal SET revision = ?, turn = ?, record = ?", (steps[-1].revision, turn, record))
            db.execute("COMMIT")
        except sqlite3.Error as error:
            if db.in_transaction:
                db.execute("ROLLBACK")
            raise StorageUnavailable(str(error)) from error

    def _write(self, change: Change) -> None:
        name = change.table.name
        key = self._encode(change.key).decode()
        if change.after is None:
            self._db.execute(f'DELETE FROM "{name}" WHERE key = ?', (key,))  # noqa: S608 - our own names
            return
        self._db.execute(
            f'INSERT INTO "{name}" VALUES (?, ?) ON CONFLICT (key) DO UPDATE SET record = excluded.record',  # noqa: S608 - our own names
            (key, self._encode(change.after).decode()),
        )

    def holds(self, turn: int) -> bool:
        """Whether this turn is the latest one stored."""
        loaded = self.load()
        return loaded.turn is not None and loaded.turn[0] == turn

    def close(self) -> None:
        """Finish, leaving everything in the file."""
        self._db.close()
