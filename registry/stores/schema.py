"""The format of the journal's file: how it is made, brought up to date and checked."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec

from actors.errors import UNDECODABLE, JournalDamaged, StartFailed
from actors.tables import Table
from registry.stores.files import means_damage, plain

FORMAT = 5
"""Version of the file, to be raised when an older version of this program can no longer use it; a newer one is refused.

1. `journal` and a table of key and record for each durable table.
2. `history`.
3. `counters`, which is saved and not durable; backends have labels, weight, limit, role, connection and revision.
4. `services`, and with them `beats` and `lifetime`, which are saved and not durable; backends have more statuses.
5. `beats` tell when a service was last registered in the same words.
"""

HISTORY_SINCE = 2
"""The first format that has `history`."""

_LARGEST_FORMAT = 100
"""A larger number was never written by any version: the file is damaged."""

JOURNAL = """CREATE TABLE IF NOT EXISTS journal
    (one INTEGER PRIMARY KEY CHECK (one = 1), revision INTEGER NOT NULL, turn INTEGER, record BLOB)"""

# The size stands before the text, so that it can be summed without reading the text.
HISTORY = """CREATE TABLE IF NOT EXISTS history
    (last INTEGER PRIMARY KEY, first INTEGER NOT NULL, wall_s REAL NOT NULL, size INTEGER NOT NULL, steps TEXT NOT NULL)
"""

_KEPT_ANYWAY = frozenset({"journal", "history"})

AnyTable = Table[Any, Any]


class Damage(Exception):
    """What is wrong with the content of a file; `usable` makes a sentence of it."""


@contextmanager
def usable(path: Path) -> Iterator[None]:
    """Say what is wrong with a file that is opened or read for the first time.

    Raises:
        JournalDamaged: Its content is damaged.
        StartFailed: It cannot be opened, read or written.
    """
    try:
        with damage_told():
            yield
    except Damage as error:
        reason = f"the journal {path} is damaged: {error}. A start with --recover keeps what is readable of it"
        raise JournalDamaged(reason) from error
    except sqlite3.Error as error:
        raise StartFailed(f"the journal {path} cannot be used: {plain(error)}") from error
    except OSError as error:
        raise StartFailed(f"the journal {path} cannot be used: {error.strerror}") from error


@contextmanager
def damage_told() -> Iterator[None]:
    """Raise `Damage` for those errors of SQLite that mean it."""
    try:
        yield
    except sqlite3.Error as error:
        if means_damage(error):
            raise Damage(str(error)) from error
        raise


def refuse_emptied(path: Path) -> None:
    """Raise `Damage` for an empty file that was not always so: SQLite would throw its write-ahead log away."""
    if _has_log(path):
        raise Damage("it is empty, and the write-ahead log beside it is not")


def _has_log(path: Path) -> bool:
    log = Path(f"{path}-wal")
    return log.exists() and log.stat().st_size > 0


def stored(tables: Sequence[AnyTable]) -> list[AnyTable]:
    """The tables that are in the file."""
    return [table for table in tables if table.durable or table.saved]


def format_of(db: sqlite3.Connection) -> int:
    """The version of a file; 0 of one that was never finished."""
    (found,) = db.execute("PRAGMA user_version").fetchone()
    return int(found)


def refuse_newer(path: Path, db: sqlite3.Connection) -> None:
    """Raise `JournalDamaged` if a newer version of this program wrote the file."""
    found = format_of(db)
    if FORMAT < found <= _LARGEST_FORMAT:
        reason = (
            f"the journal {path} has format {found}, this version knows up to {FORMAT}:"
            " a newer actor-registry wrote it; use that one, or another data directory"
        )
        raise JournalDamaged(reason)


def check(db: sqlite3.Connection, path: Path, tables: Sequence[AnyTable]) -> None:
    """Check the form of a file, and the structure of what is read from it at a start.

    Raises:
        Damage: It is not what this program, or an older version of it, has written.
        sqlite3.Error: It cannot be read.
    """
    found = format_of(db)
    if not 0 <= found <= FORMAT:
        raise Damage(f"its format is given as {found}")
    (page_bytes,) = db.execute("PRAGMA page_size").fetchone()
    # With a log beside it the file may well end so: then a disk was full, and the log has the whole page.
    if path.stat().st_size % page_bytes and not _has_log(path):
        raise Damage("it ends in the middle of a page")
    present = _tables_in(db)
    if strange := present - _KEPT_ANYWAY - {table.name for table in stored(tables)}:
        raise Damage(f"it holds a table that nobody knows, {min(strange)!r}")
    for name in _required(found) - present:
        raise Damage(f"its table {name!r} is missing")
    for name in sorted(present - {"history"}):
        check_structure(db, name)


def check_structure(db: sqlite3.Connection, name: str) -> None:
    """Check the pages of a table and its index; raises as `check` does."""
    try:
        problems = [str(text) for (text,) in db.execute(f'PRAGMA integrity_check("{name}")')]
    except sqlite3.Error as error:
        if not means_damage(error):
            raise
        problems = [str(error)]
    if problems != ["ok"]:
        raise Damage(f"in table {name!r}: {' '.join(problems[0].split())}")


def _required(found: int) -> set[str]:
    if not found:
        return set()
    return {"journal", "history"} if found >= HISTORY_SINCE else {"journal"}


def _tables_in(db: sqlite3.Connection) -> set[str]:
    return {
        name
        for (name,) in db.execute(
            "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite~_%' ESCAPE '~'"
        )
    }


def bring_up_to_date(db: sqlite3.Connection, tables: Sequence[AnyTable]) -> None:
    """Make what is missing in a file, in one transaction; nothing is written to one that is complete.

    Raises:
        sqlite3.Error: It cannot be written.
    """
    # A file that is complete is not written: the owner must start on a full disk too, and serve what it has.
    if db.execute("PRAGMA journal_mode").fetchone() != ("wal",):
        db.execute("PRAGMA journal_mode = WAL")
    wanted = {table.name for table in stored(tables)} | _KEPT_ANYWAY
    if format_of(db) == FORMAT and wanted <= _tables_in(db):
        return
    db.execute("BEGIN IMMEDIATE")
    try:
        for table in stored(tables):
            db.execute(f'CREATE TABLE IF NOT EXISTS "{table.name}" (key TEXT PRIMARY KEY, record TEXT NOT NULL)')
        db.execute(JOURNAL)
        db.execute(HISTORY)
        db.execute("INSERT OR IGNORE INTO journal VALUES (1, 0, NULL, NULL)")
        db.execute(f"PRAGMA user_version = {FORMAT}")
        db.execute("COMMIT")
    except sqlite3.Error:
        if db.in_transaction:
            db.execute("ROLLBACK")
        raise


def rows(db: sqlite3.Connection, tables: Sequence[AnyTable]) -> Iterator[tuple[str, Any, Any]]:
    """Table name, key and record of each row of the actor's tables, in order of their arrival.

    Raises:
        Damage: A row is not what the table holds.
        sqlite3.Error: They cannot be read.
    """
    present = _tables_in(db)  # an older version of this program knew fewer
    for table in (table for table in stored(tables) if table.name in present):
        # As blobs: text that is not UTF-8 must be our own finding, which names the row.
        select = f'SELECT rowid, CAST(key AS BLOB), CAST(record AS BLOB) FROM "{table.name}" ORDER BY rowid'  # noqa: S608 - our own names
        for rowid, key, record in db.execute(select):
            try:
                row = read_row(table, key, record)
            except UNDECODABLE as error:
                raise Damage(f"in table {table.name!r}, row {rowid} (key {shown(key)}): {error}") from error
            yield table.name, *row


def read_row(table: AnyTable, key: Any, record: Any) -> tuple[Any, Any]:
    """Key and record of a stored row, as the table holds them.

    Raises:
        msgspec.DecodeError: They are not JSON, or not what the table holds; or another of `UNDECODABLE`.
    """
    decode = msgspec.json.decode
    if not isinstance(key, bytes) or not isinstance(record, bytes):
        raise msgspec.DecodeError("it is empty")
    return table.decode_key(decode(key)), table.decode_record(decode(record))


def shown(key: Any) -> str:
    """A key for the eyes of people: short, on one line."""
    text = key.decode(errors="backslashreplace") if isinstance(key, bytes) else str(key)
    text = text.encode("unicode_escape").decode()
    return text if len(text) <= 100 else f"{text[:100]}…"


def position(db: sqlite3.Connection) -> tuple[int, tuple[int, bytes] | None]:
    """Revision, and the latest turn with its record.

    Raises:
        Damage: They are not there or not of their types.
        sqlite3.Error: They cannot be read.
    """
    row = db.execute("SELECT revision, turn, record FROM journal").fetchone()
    match row:
        case (int() as revision, None, None) if revision >= 0:
            return revision, None
        case (int() as revision, int() as turn, bytes() as record) if revision >= 0:
            return revision, (turn, record)
        case _:
            raise Damage("the row that holds its revision is missing or makes no sense")
