"""Journals with something in them, and what a new owner finds in a file."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import msgspec

from actors.errors import StorageUnavailable
from actors.journal import SavedRow, Step
from actors.tables import Change
from registry import commands as c
from registry.actor import RegistryActor
from registry.kinds import BackendStatus
from registry.stores.sqlite import SqliteJournal
from tests.registry.state.driver import State, backend

TURN = b"a record of the session log"
WALL_S = 1_700_000_000.0

Found = dict[tuple[str, Any], Any]
"""Records by table and key."""


def opened(path: Path) -> SqliteJournal:
    """The journal of a registry."""
    return SqliteJournal(path, RegistryActor().tables)


def taken(state: State) -> list[Change]:
    """The durable changes of a state so far; they are taken from it."""
    changes = [change for change in state.changes if change.table.durable]
    state.changes.clear()
    return changes


def steps_of(changes: Sequence[Change], last: int) -> list[Step]:
    """Changes as the steps of a turn that ends with a revision."""
    first = last + 1 - len(changes)
    return [
        Step(first + number, 7, "AddBackend", WALL_S + first + number, [change])
        for number, change in enumerate(changes)
    ]


def turn(state: State, last: int) -> list[Step]:
    """What has changed in a state, as a turn that ends with a revision."""
    return steps_of(taken(state), last)


def reopened(path: Path) -> tuple[Found, int, tuple[int, bytes] | None]:
    """What a new owner finds: rows, revision and turn."""
    with closing(opened(path)) as journal:
        loaded = journal.load()
        rows = {(name, key): record for name, key, record in loaded.rows}
        return rows, loaded.revision, loaded.turn


def filled(path: Path, backends: int = 60, turns: int = 30) -> Found:
    """Make a journal of backends that were changed now and then, so that all its tables have several pages.

    All its text is ASCII, in which a flipped highest bit is always seen.
    """
    state = State()
    revision = 0
    with closing(opened(path)) as journal:
        for number in range(backends):
            state.apply(c.AddBackend(backend(f"b{number:03}", *(f"model-{index}" for index in range(number % 9)))))
        for number in range(1, turns + 1):
            state.apply(c.UpdateStatus(f"b{number % backends:03}", BackendStatus.UNHEALTHY, f"down {number}"))
            changes = taken(state)
            revision += len(changes)
            journal.commit(steps_of(changes, revision), number, TURN)
    return {("backends", key): record for key, record in state.actor.backends.records.items()}


def renumber(path: Path, number: int) -> None:
    """Give a file another format."""
    with closing(sqlite3.connect(path)) as db:
        db.execute(f"PRAGMA user_version = {number}")


def builtin(record: Any) -> Any:
    """A record as it is read by those who do not know its type."""
    return msgspec.json.decode(msgspec.json.encode(record))


class Flaky(SqliteJournal):
    """The journal of a registry, which stores nothing when it is told to fail."""

    fails = False

    def __init__(self, path: Path) -> None:
        super().__init__(path, RegistryActor().tables)

    def commit(self, steps: Sequence[Step], turn: int, record: bytes, saved: Sequence[SavedRow] = ()) -> None:
        if self.fails:
            raise StorageUnavailable("the disk is full")
        super().commit(steps, turn, record, saved)

    def save(self, rows: Sequence[SavedRow]) -> None:
        if self.fails:
            raise StorageUnavailable("the disk is full")
        super().save(rows)
