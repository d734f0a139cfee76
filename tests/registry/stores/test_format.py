"""The format of the journal's file: older files are brought up to date, wholly or not at all."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import msgspec
import pytest

from actors.errors import Compacted, JournalDamaged
from registry import commands as c
from registry.actor import RegistryActor
from registry.state.records import BackendRecord
from registry.state.service_records import BeatRecord
from registry.stores import schema
from registry.stores.recovery import recover
from tests.registry.state.driver import State, backend
from tests.registry.stores.journals import TURN, builtin, opened, reopened, turn


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where the journal is."""
    return tmp_path / "registry.db"


NEW_FIELDS = ("labels", "weight", "max_concurrency", "role", "connection", "revision")
"""What a backend had not in formats 1 and 2."""


def old_record(record: BackendRecord) -> str:
    """A backend as older versions wrote it."""
    return json.dumps({field: value for field, value in builtin(record).items() if field not in NEW_FIELDS})


def records(state: State) -> list[tuple[str, BackendRecord]]:
    """The backends of a state, as they are found in an old file."""
    return [(id, msgspec.structs.replace(record, revision=0)) for id, record in state.actor.backends.records.items()]


def format_4(path: Path, state: State, revision: int) -> None:
    """A file as the fourth version wrote it, without services."""
    format_3(path, state, revision)
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        for table in ("services", "beats", "lifetime"):
            db.execute(f"CREATE TABLE {table} (key TEXT PRIMARY KEY, record TEXT NOT NULL)")
        db.execute("PRAGMA user_version = 4")


def format_3(path: Path, state: State, revision: int) -> None:
    """A file as the third version wrote it."""
    format_2(path, state, revision)
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        db.execute("CREATE TABLE counters (key TEXT PRIMARY KEY, record TEXT NOT NULL)")
        db.execute("PRAGMA user_version = 3")


def format_2(path: Path, state: State, revision: int) -> None:
    """A file as the second version wrote it; its history is empty."""
    format_1(path, state, revision)
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        db.execute(
            "CREATE TABLE history (last INTEGER PRIMARY KEY, first INTEGER NOT NULL, wall_s REAL NOT NULL,"
            " size INTEGER NOT NULL, steps TEXT NOT NULL)"
        )
        db.execute("PRAGMA user_version = 2")


def format_1(path: Path, state: State, revision: int) -> None:
    """A file as the first version wrote it."""
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        db.execute("PRAGMA journal_mode = WAL")
        db.execute('CREATE TABLE IF NOT EXISTS "backends" (key TEXT PRIMARY KEY, record TEXT NOT NULL)')
        db.execute(
            "CREATE TABLE IF NOT EXISTS journal"
            " (one INTEGER PRIMARY KEY CHECK (one = 1), revision INTEGER NOT NULL, turn INTEGER, record BLOB)"
        )
        for id, record in state.actor.backends.records.items():
            db.execute("INSERT INTO backends VALUES (?, ?)", (json.dumps(id), old_record(record)))
        db.execute("INSERT INTO journal VALUES (1, ?, 9, ?)", (revision, TURN))
        db.execute("PRAGMA user_version = 1")


@pytest.mark.parametrize("write", [format_1, format_2, format_3, format_4])
def test_file_of_an_older_version(path: Path, write: Callable[[Path, State, int], None]) -> None:
    """Everything in it is there after the first start, and its history begins with the next change."""
    state = State(backend("b", "m"), backend("a"))
    write(path, state, 17)
    recover(path, RegistryActor().tables)  # which finds nothing to be recovered
    with closing(opened(path)) as journal:
        loaded = journal.load()
        rows = {key: record for _, key, record in loaded.rows}
        assert list(rows.items()) == records(state)
        assert (loaded.revision, loaded.turn) == (17, (9, TURN))
        assert (journal.oldest_revision(), list(journal.history(17))) == (18, [])
        with pytest.raises(Compacted):
            journal.history(16)
        journal.commit(turn(State(backend("c")), 18), 10, TURN)
        assert [step.revision for step in journal.history(17)] == [18]
        with_service = State()
        with_service.apply(c.RegisterService("s", "h", 1, "h", "http://h:1", "running"))
        journal.commit(turn(with_service, 19), 11, TURN)
        journal.save([("beats", "s", BeatRecord(1.0, 2.0)), ("lifetime", "registry", 3.0)])
    with closing(sqlite3.connect(path)) as db:
        assert db.execute("PRAGMA user_version").fetchone() == (schema.FORMAT,)
    found = reopened(path)[0]
    assert len(found) == 6
    assert (found["services", "s"].url, found["beats", "s"]) == ("http://h:1", BeatRecord(1.0, 2.0))


def test_heartbeat_of_format_4(path: Path) -> None:
    """It says nothing of a registration, so the record of the service does."""
    format_4(path, State(), 17)
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        db.execute("INSERT INTO beats VALUES (?, ?)", ('"s"', "[1.0,2.0]"))
    assert reopened(path)[0] == {("beats", "s"): BeatRecord(1.0, 2.0, "")}


def test_migration_that_is_interrupted(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An upgrade that does not come to its end leaves the old file, and the next start does it."""
    state = State(backend("a"))
    format_1(path, state, 3)
    with monkeypatch.context() as patch:
        patch.setattr(schema, "HISTORY", "CREATE nonsense")
        with pytest.raises(JournalDamaged):
            opened(path)
    with closing(sqlite3.connect(path)) as db:
        assert db.execute("PRAGMA user_version").fetchone() == (1,)
        assert db.execute("SELECT name FROM sqlite_master WHERE name = 'history'").fetchall() == []
    assert reopened(path)[1] == 3


def test_file_that_was_never_finished(path: Path) -> None:
    """A file whose making was interrupted, by the first version in the middle of it, is made whole."""
    with closing(sqlite3.connect(path)) as db:
        db.execute("PRAGMA journal_mode = WAL")
        db.execute("CREATE TABLE backends (key TEXT PRIMARY KEY, record TEXT NOT NULL)")
    assert reopened(path) == ({}, 0, None)
    with closing(opened(path)) as journal:
        journal.commit(turn(State(backend("a")), 1), 1, TURN)
    assert reopened(path)[1] == 1


def test_table_that_is_new(path: Path) -> None:
    """A durable table that this version has and the file has not is made, and the rest is left alone."""
    state = State(backend("a"))
    with closing(opened(path)) as journal:
        journal.commit(turn(state, 1), 1, TURN)
    with closing(sqlite3.connect(path)) as db:
        db.execute("DROP TABLE backends")
    assert reopened(path) == ({}, 1, (1, TURN))
    with closing(opened(path)) as journal:
        journal.commit(turn(State(backend("b")), 2), 2, TURN)
    assert len(reopened(path)[0]) == 1
