"""Database files: how they are opened, who may read them, and what their errors mean in plain words."""

from __future__ import annotations

import errno
import os
import sqlite3
from pathlib import Path
from typing import Literal

BUSY_TIMEOUT_S = 0.5
"""How long a turn waits for somebody else who writes to the file; nobody should."""

LOGS = ("-wal", "-journal")
"""Beside a file, by the end of their names: what SQLite has not written into it yet, or could not undo yet."""

COMPANIONS = (*LOGS, "-shm")
"""All that SQLite may keep beside a file; the last one is an index, which it makes anew when it is missing."""

_NO_SHARED_MEMORY = (sqlite3.SQLITE_IOERR_SHMSIZE, sqlite3.SQLITE_IOERR_SHMMAP, sqlite3.SQLITE_IOERR_SHMOPEN)

_PLAIN = {
    sqlite3.SQLITE_FULL: "the disk is full",
    sqlite3.SQLITE_READONLY: "the file or its disk is read-only",
    sqlite3.SQLITE_IOERR: "the disk reports an error",
    sqlite3.SQLITE_BUSY: "another program holds the file",
    sqlite3.SQLITE_LOCKED: "another program holds the file",
    sqlite3.SQLITE_CANTOPEN: "the file cannot be opened",
    sqlite3.SQLITE_CORRUPT: "the file is damaged; stop everything and start with --recover",
    sqlite3.SQLITE_NOTADB: "the file is damaged; stop everything and start with --recover",
}

_DAMAGE = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_ERROR)
"""The last one is what SQLite says of a schema that it can read but not use."""


def plain(error: sqlite3.Error) -> str:
    """What a database error means, with SQLite's own words."""
    meaning = _PLAIN.get(_code(error))
    return f"{meaning} ({error})" if meaning else str(error)


def means_damage(error: sqlite3.Error) -> bool:
    """Whether the content of the file is to blame, not the disk, its rights or another program."""
    return _code(error) in _DAMAGE


def _code(error: sqlite3.Error) -> int:
    extended: int = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_INTERNAL)
    return extended & 0xFF


def open_database(path: Path, mode: Literal["ro", "rw"], synchronous: str = "NORMAL") -> sqlite3.Connection:
    """Open a file that is there.

    Args:
        path: The file.
        mode: A connection that only reads leaves the file and its write-ahead log as they are, also when it is closed;
            but on a full disk it may be one that writes.
        synchronous: SQLite's setting of this name.

    Raises:
        sqlite3.Error: It cannot be opened or is no database.
    """
    try:
        db = _open(path, mode, "NORMAL")
    except sqlite3.OperationalError as error:
        if error.sqlite_errorcode not in _NO_SHARED_MEMORY:
            raise
        # On a disk without a free block there is no room for the index of the write-ahead log that SQLite shares
        # between processes. A connection that has the file for itself keeps it in its own memory.
        db = _open(path, "rw", "EXCLUSIVE")
    try:
        db.execute(f"PRAGMA synchronous = {synchronous}")
    except BaseException as error:
        db.close()
        if isinstance(error, UnicodeDecodeError):
            # SQLite's sentence quotes what it cannot read, and that is not even text.
            damage = sqlite3.DatabaseError("malformed database schema")
            damage.sqlite_errorcode = sqlite3.SQLITE_CORRUPT
            raise damage from error
        raise
    return db


def _open(path: Path, mode: str, locking: str) -> sqlite3.Connection:
    uri = f"{path.absolute().as_uri()}?mode={mode}"
    db = sqlite3.connect(uri, uri=True, timeout=BUSY_TIMEOUT_S, isolation_level=None)
    try:
        db.execute(f"PRAGMA locking_mode = {locking}")
        db.execute("PRAGMA schema_version")  # the first look into the file
    except BaseException:
        db.close()
        raise
    return db


def keep_private(path: Path) -> None:
    """Let nobody but the owner of a file read it and what stands beside it; SQLite gives new companions its rights.

    Raises:
        OSError: The rights cannot be changed, or it is a directory.
    """
    if path.is_dir():
        raise IsADirectoryError(errno.EISDIR, "it is a directory")
    for end in ("", *COMPANIONS):
        file = Path(f"{path}{end}")
        if file.exists() and file.stat().st_mode & 0o077:
            file.chmod(0o600)


def sync(path: Path) -> None:
    """Let a file or a directory outlive the loss of power; raises `OSError`."""
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
