"""The journal in SQLite: what is stored comes back, whatever had happened to the file is said."""

from __future__ import annotations

import json
import sqlite3
import stat
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import msgspec
import pytest

from actors.actor import Context
from actors.errors import StartFailed, StorageUnavailable
from actors.tables import Change
from registry import commands as c
from registry.kinds import BackendStatus
from registry.owner import RegistryActor
from registry.state.records import ModelRecord
from registry.stores.sqlite import FORMAT, SqliteJournal
from tests.registry.state.driver import State, backend

TURN = b"a record of the session log"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where the journal is."""
    return tmp_path / "registry.db"


@pytest.fixture
def journal(path: Path) -> Iterator[SqliteJournal]:
    """An open journal."""
    with closing(SqliteJournal(path, RegistryActor().tables)) as opened:
        yield opened


def durable(state: State) -> list[Change]:
    """The changes that a turn stores; they are taken from the state."""
    changes = [change for change in state.changes if change.table.durable]
    state.changes.clear()
    return changes


def reopened(path: Path) -> tuple[dict[tuple[str, Any], Any], int, tuple[int, bytes] | None]:
    """What a new owner finds: rows, revision and turn."""
    with closing(SqliteJournal(path, RegistryActor().tables)) as journal:
        loaded = journal.load()
        rows = {(name, key): record for name, key, record in loaded.rows}
        return rows, loaded.revision, loaded.turn


def test_new_file_is_empty_and_private(journal: SqliteJournal, path: Path) -> None:
    """A new journal holds nothing, and only its owner can read it and the files beside it."""
    loaded = journal.load()
    assert (list(loaded.rows), loaded.revision, loaded.turn) == ([], 0, None)
    journal.commit(durable(State(backend("a"))), 1, 1, TURN)
    modes = {file.name: stat.S_IMODE(file.stat().st_mode) for file in path.parent.iterdir()}
    assert modes["registry.db"] == 0o600
    assert set(modes.values()) == {0o600}


def test_round_trip(journal: SqliteJournal, path: Path) -> None:
    """Records, revision and turn come back as they were, in order of their arrival."""
    state = State(backend("b", "m", metadata={"ключ": 'a "quoted" value'}), backend("a", priority=-1))
    journal.commit(durable(state), 2, 5, TURN)
    rows, revision, turn = reopened(path)
    assert (revision, turn) == (2, (5, TURN))
    assert list(rows) == [("backends", "b"), ("backends", "a")]
    actor = RegistryActor()
    (table,) = (table for table in actor.tables if table.durable)
    for (_, key), record in rows.items():
        table.restore(table.decode_key(key), table.decode_record(record))
    assert [actor.backends.state(id) for id in ("b", "a")] == [state.get(id) for id in ("b", "a")]


def test_changes_replace_and_remove(journal: SqliteJournal, path: Path) -> None:
    """A changed record replaces the old one in its place, a removed one is gone."""
    state = State(backend("a", "m"), backend("b"), backend("c"))
    journal.commit(durable(state), 3, 1, TURN)
    state.apply(c.UpdateStatus("a", BackendStatus.UNHEALTHY, "down"))
    state.apply(c.UpdateModels("a", (ModelRecord("n"),)))
    state.apply(c.RemoveBackend("b"))
    journal.commit(durable(state), 6, 2, TURN)
    rows, revision, turn = reopened(path)
    assert list(rows) == [("backends", "a"), ("backends", "c")]
    record = rows["backends", "a"]
    assert (record["status"], record["last_error"], record["models"][0]["id"]) == ("unhealthy", "down", "n")
    assert (revision, turn) == (6, (2, TURN))


def test_rows_can_be_read_by_people(journal: SqliteJournal, path: Path) -> None:
    """The tables are ordinary ones with JSON in them."""
    journal.commit(durable(State(backend("a"))), 1, 1, TURN)
    with closing(sqlite3.connect(path)) as db:
        ((key, record),) = db.execute("SELECT key, record FROM backends").fetchall()
    assert json.loads(key) == "a"
    assert json.loads(record)["url"] == "http://a:8000"


def test_only_durable_tables_are_in_the_file(journal: SqliteJournal, path: Path) -> None:
    """Counts and leases have no place in the file."""
    with closing(sqlite3.connect(path)) as db:
        names = {name for (name,) in db.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    assert names == {"journal", *(table.name for table in RegistryActor().tables if table.durable)}
    assert list(journal.load().rows) == []


def test_forget_turn(journal: SqliteJournal, path: Path) -> None:
    """A new system keeps the revision and forgets the last turn of the old one."""
    journal.commit(durable(State(backend("a"))), 1, 9, TURN)
    journal.forget_turn()
    _, revision, turn = reopened(path)
    assert (revision, turn) == (1, None)


def test_newer_format_is_refused(journal: SqliteJournal, path: Path) -> None:
    """A file that a newer version wrote is left as it is."""
    journal.close()
    with closing(sqlite3.connect(path)) as db:
        db.execute(f"PRAGMA user_version = {FORMAT + 1}")
    before = path.read_bytes()
    with pytest.raises(StartFailed, match=rf"has format {FORMAT + 1}.* newer actor-registry wrote it"):
        SqliteJournal(path, RegistryActor().tables)
    assert path.read_bytes() == before


def test_file_that_is_no_database_is_refused(path: Path) -> None:
    """A damaged file is named and left as it is."""
    path.write_bytes(b"this is no database\n" * 100)
    before = path.read_bytes()
    with pytest.raises(StartFailed, match=r"registry\.db cannot be used: file is not a database"):
        SqliteJournal(path, RegistryActor().tables)
    assert path.read_bytes() == before


def test_directory_in_the_place_of_the_file(path: Path) -> None:
    """A path that cannot be opened is named."""
    path.mkdir()
    with pytest.raises(StartFailed, match=r"registry\.db cannot be used"):
        SqliteJournal(path, RegistryActor().tables)


def test_damaged_page_is_refused_when_it_is_read(journal: SqliteJournal, path: Path) -> None:
    """A file whose middle is damaged cannot be loaded, and that is said as plainly."""
    journal.commit(durable(State(*(backend(f"b{number}", "m" * 100) for number in range(100)))), 100, 1, TURN)
    journal.close()
    content = bytearray(path.read_bytes())
    content[4096 * 4 :] = b"\xee" * (len(content) - 4096 * 4)
    path.write_bytes(content)
    with (
        pytest.raises(StartFailed, match=r"registry\.db"),
        closing(SqliteJournal(path, RegistryActor().tables)) as damaged,
    ):
        list(damaged.load().rows)


def test_failed_commit_stores_nothing_and_the_next_one_works(journal: SqliteJournal, path: Path) -> None:
    """A journal that cannot be written says so, keeps what it had, and goes on as soon as it can be written."""
    state = State(backend("a"))
    journal.commit(durable(state), 1, 1, TURN)
    state.apply(c.AddBackend(backend("b")))
    changes = durable(state)
    journal._db.execute("PRAGMA query_only = ON")  # what a file system that became read-only does
    with pytest.raises(StorageUnavailable, match="readonly database"):
        journal.commit(changes, 2, 2, TURN)
    assert not journal._db.in_transaction
    assert [key for _, key, _ in journal.load().rows] == ["a"]
    journal._db.execute("PRAGMA query_only = OFF")
    journal.commit(changes, 2, 2, TURN)
    rows, revision, _ = reopened(path)
    assert ([key for _, key in rows], revision) == (["a", "b"], 2)


def test_full_disk_in_the_middle_of_a_turn(journal: SqliteJournal, path: Path) -> None:
    """A turn that fits only in part is not stored at all."""
    state = State(backend("a"))
    journal.commit(durable(state), 1, 1, TURN)
    (pages,) = journal._db.execute("PRAGMA page_count").fetchone()
    journal._db.execute(f"PRAGMA max_page_count = {pages + 1}")
    for number in range(200):
        state.apply(c.AddBackend(backend(f"b{number}", "m" * 500)))
    changes = durable(state)
    with pytest.raises(StorageUnavailable, match="full"):
        journal.commit(changes, 201, 2, TURN)
    assert [key for _, key, _ in journal.load().rows] == ["a"]
    journal._db.execute("PRAGMA max_page_count = 1000000")
    journal.commit(changes, 201, 2, TURN)
    rows, revision, _ = reopened(path)
    assert (len(rows), revision) == (201, 201)


def test_turn_that_fails_in_the_middle_is_undone(journal: SqliteJournal, path: Path) -> None:
    """When one change of a turn cannot be stored, those before it are not stored either."""
    with closing(sqlite3.connect(path)) as db:
        db.execute(
            "CREATE TRIGGER refuse BEFORE INSERT ON backends WHEN NEW.key = '\"bad\"'"
            " BEGIN SELECT RAISE(ABORT, 'refused'); END"
        )
    with pytest.raises(StorageUnavailable, match="refused"):
        journal.commit(durable(State(backend("good"), backend("bad"))), 2, 1, TURN)
    assert reopened(path) == ({}, 0, None)
    journal.commit(durable(State(backend("good"))), 1, 1, TURN)
    assert reopened(path)[1] == 1


def test_uncommitted_turn_is_not_there_after_a_crash(journal: SqliteJournal, path: Path) -> None:
    """What a killed owner had not committed was never there."""
    journal.commit(durable(State(backend("a"))), 1, 1, TURN)
    with closing(SqliteJournal(path, RegistryActor().tables)) as dying:
        dying._db.execute("BEGIN IMMEDIATE")
        dying._db.execute("DELETE FROM backends")
    rows, revision, _ = reopened(path)
    assert ([key for _, key in rows], revision) == (["a"], 1)


def test_second_opening_of_the_same_file_changes_nothing(journal: SqliteJournal, path: Path) -> None:
    """Starting again and again leaves the file as it was."""
    journal.commit(durable(State(backend("a"))), 1, 1, TURN)
    first = reopened(path)
    assert reopened(path) == first


def test_stored_backend_has_no_field_that_the_records_do_not_have(journal: SqliteJournal) -> None:
    """What is in the file is the record and nothing else: no counts, and no secrets that somebody added."""
    state = State(backend("a", "m"))
    state.apply(c.IncrementPending("a"))
    journal.commit(durable(state), 1, 1, TURN)
    ((_, _, record),) = journal.load().rows
    assert set(record) == set(backend("a").__struct_fields__)
    assert msgspec.convert(record, type(backend("a"))) == state.get("a").record


def test_context_is_all_an_actor_knows_of_time(journal: SqliteJournal) -> None:
    """The time of a change in the journal is that of the command's circumstances."""
    actor = RegistryActor()
    changes: list[Change] = []
    for table in actor.tables:
        table.changes = changes
    actor.apply(c.AddBackend(backend("a")), Context(1, 5.0, 1_234.5, 1, 0))
    journal.commit(changes, 1, 1, TURN)
    ((_, _, record),) = journal.load().rows
    assert record["last_health_check_s"] == 1_234.5
