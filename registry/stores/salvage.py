"""What can still be read of a damaged file, row by row."""

from __future__ import annotations

import contextlib
import shutil
import sqlite3
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec

from actors.errors import UNDECODABLE
from registry.stores.files import open_database
from registry.stores.pages import PAGE_BYTES, rows_in_pages
from registry.stores.schema import AnyTable, bring_up_to_date, read_row, shown, stored

_HEADER_BYTES = 100
_SIZE_AT = 28
"""Where the header of a file says how many pages it has."""

_FRUITLESS = 20_000
"""After so many row numbers in a row that lead to nothing, no more are tried."""

MAX_REVISION = 2**53
"""A larger one was never written; it is also the limit of whole numbers in the JSON of many programs."""

Rows = dict[int, tuple[Any, ...]]
"""Rows by their SQL row number, in order."""


class SalvagedTable(msgspec.Struct, frozen=True):
    """What was found of a table.

    Attributes:
        rows: Keys and records as they were written, in order.
        lost: What is known of the rows that could not be kept: their keys and why.
        whole: Whether there may be rows of which nothing at all is known.
    """

    rows: dict[str, str]
    lost: list[str]
    whole: bool


class Salvaged(msgspec.Struct, frozen=True):
    """What was found in a file.

    Attributes:
        tables: By name.
        revision: The highest revision that is written anywhere; None if none was found.
        certain: Whether no higher one can have been written.
        turn: The latest turn and its record.
    """

    tables: dict[str, SalvagedTable]
    revision: int | None
    certain: bool
    turn: tuple[int, bytes] | None

    @property
    def kept(self) -> int:
        """Rows that were found."""
        return sum(len(table.rows) for table in self.tables.values())


def salvage(path: Path, workplace: Path, tables: Sequence[AnyTable]) -> Salvaged:
    """Read what can be read.

    Args:
        path: The damaged file; only copies of it are opened.
        workplace: An empty directory for the copies.
        tables: The actor's tables.

    Raises:
        OSError: The file cannot be copied.
        sqlite3.Error: There is no room for the copies.
    """
    first_page = _first_page(workplace / "sound.db", tables)
    best = Salvaged({}, None, certain=False, turn=None)
    # SQLite finds everything from the first page. If that is damaged it is replaced, first by as little as possible.
    for repair in (_leave, _give_header, _give_first_page):
        copy = workplace / f"{repair.__name__.strip('_')}.db"
        shutil.copyfile(path, copy)
        with contextlib.suppress(FileNotFoundError):
            shutil.copyfile(f"{path}-wal", f"{copy}-wal")
        repair(copy, first_page)
        found = _read(copy, tables)
        if (found.kept, found.certain) > (best.kept, best.certain):
            best = found
        if best.kept and best.certain:
            break
    return best


def _first_page(path: Path, tables: Sequence[AnyTable]) -> bytes:
    path.touch(mode=0o600)
    with contextlib.closing(open_database(path, "rw")) as db:
        bring_up_to_date(db, tables)
    return path.read_bytes()[:PAGE_BYTES]


def _leave(_: Path, __: bytes) -> None:
    """Open it as it is."""


def _give_header(path: Path, first_page: bytes) -> None:
    _overwrite(path, first_page[:_HEADER_BYTES])


def _give_first_page(path: Path, first_page: bytes) -> None:
    _overwrite(path, first_page)


def _overwrite(path: Path, start: bytes) -> None:
    pages = max(1, path.stat().st_size // PAGE_BYTES)
    with path.open("r+b") as file:
        file.write(start[:_SIZE_AT] + pages.to_bytes(4, "big") + start[_SIZE_AT + 4 :])


def _read(copy: Path, tables: Sequence[AnyTable]) -> Salvaged:
    with contextlib.closing(sqlite3.connect(copy, isolation_level=None)) as db:
        db.text_factory = bytes
        # With this SQLite opens a file that is shorter than it should be, or whose schema is damaged in part.
        db.execute("PRAGMA writable_schema = ON")
        db.execute("PRAGMA locking_mode = EXCLUSIVE")
        with contextlib.suppress(sqlite3.Error, UnicodeDecodeError):
            db.execute("PRAGMA wal_checkpoint(TRUNCATE)")  # so that all pages are in one file
        content = copy.read_bytes()
        revision, certain, turn = _position(db)
        return Salvaged({table.name: _table(db, table, content) for table in stored(tables)}, revision, certain, turn)


def _table(db: sqlite3.Connection, table: AnyTable, content: bytes) -> SalvagedTable:
    indexed, index_whole = _indexed(db, table.name)
    found, whole = _rows(db, table.name, "key, record", indexed)
    if not whole:
        found = dict(sorted({**_strays(table, content, indexed if index_whole else None), **found}.items()))
    rows: dict[str, str] = {}
    lost: dict[str, str] = {}
    for rowid, (key, record) in found.items():
        try:
            read_row(table, key, record)
            # One that comes twice, because two pages lead to it, has its place and record from its last row.
            rows.pop(key.decode(), None)
            rows[key.decode()] = record.decode()
        except UNDECODABLE as error:
            known = shown(indexed.get(rowid, key))
            lost[known] = f"{known} (row {rowid}: {error})"
    for rowid in indexed.keys() - found.keys():
        known = shown(indexed[rowid])
        lost[known] = f"{known} (row {rowid} cannot be read)"
    kept = {shown(key) for key in rows}
    return SalvagedTable(rows, [lost[key] for key in sorted(lost) if key not in kept], whole or index_whole)


def _strays(table: AnyTable, content: bytes, indexed: dict[int, Any] | None) -> Rows:
    """Rows of pages to which nothing leads any more; of those that the index knows, if all of it could be read."""
    strays: Rows = {}
    for rowid, key, record in rows_in_pages(content):
        if indexed is None or rowid in indexed:
            with contextlib.suppress(*UNDECODABLE):  # then it is a row of another table
                read_row(table, key, record)
                strays.setdefault(rowid, (key, record))
    return strays


def _indexed(db: sqlite3.Connection, name: str) -> tuple[dict[int, Any], bool]:
    """Row numbers and keys from the index, which has pages of its own; and whether all of it was read."""
    found: Rows = {}
    select = f'SELECT rowid, key FROM "{name}" INDEXED BY "sqlite_autoindex_{name}_1" ORDER BY key'  # noqa: S608 - our own names
    whole = _gather(db, select, found)
    if not whole:
        _gather(db, f"{select} DESC", found)
    return {rowid: key for rowid, (key,) in found.items()}, whole


def _rows(db: sqlite3.Connection, name: str, columns: str, known: dict[int, Any]) -> tuple[Rows, bool]:
    """The rows that can be read, by number; and whether these are all."""
    select = f'SELECT rowid, {columns} FROM "{name}" NOT INDEXED'  # noqa: S608 - our own names
    upward: Rows = {}
    if _gather(db, f"{select} ORDER BY rowid", upward):
        return upward, True
    downward: Rows = {}
    _gather(db, f"{select} ORDER BY rowid DESC", downward)
    found = downward | upward
    low = max(upward, default=0) + 1
    high = min((number for number in downward if number >= low), default=max(known, default=low + _FRUITLESS) + 1)
    # Between the two ends lies a damaged page, and perhaps sound ones between it and another damaged one.
    for number in sorted(known.keys() - found.keys()):
        _gather(db, f"{select} WHERE rowid = {number}", found)
    fruitless = 0
    for number in range(low, high):
        if number not in found and number not in known:
            _gather(db, f"{select} WHERE rowid = {number}", found)
        fruitless = 0 if number in found else fruitless + 1
        if fruitless == _FRUITLESS:
            break
    return dict(sorted(found.items())), False


def _gather(db: sqlite3.Connection, select: str, into: Rows) -> bool:
    """Read until something cannot be read; whether the end was reached."""
    try:
        for number, *values in db.execute(select):
            into.setdefault(number, tuple(values))
    except (sqlite3.Error, UnicodeDecodeError):  # the latter if SQLite's sentence quotes what is not text
        return False
    return True


def _position(db: sqlite3.Connection) -> tuple[int | None, bool, tuple[int, bytes] | None]:
    """The highest revision found, whether it is certainly the latest, and the latest turn."""
    at: Rows = {}
    _gather(db, "SELECT one, revision, turn, record FROM journal", at)
    revisions = []
    certain = False
    turn = None
    match at.get(1):
        case (int() as revision, int() as number, bytes() as record) if 0 <= revision < MAX_REVISION:
            revisions.append(revision)
            turn = (number, record)
            certain = True
        case (int() as revision, *_) if 0 <= revision < MAX_REVISION:
            revisions.append(revision)
            certain = True
    turns: Rows = {}
    whole = _gather(db, "SELECT last, first FROM history ORDER BY last", turns)
    if not whole:
        whole = _gather(db, "SELECT last, first FROM history ORDER BY last DESC LIMIT 1", turns)
    revisions += [
        last for last, (first,) in turns.items() if isinstance(first, int) and 0 < first <= last < MAX_REVISION
    ]
    return max(revisions, default=None), certain or (whole and bool(revisions)), turn
