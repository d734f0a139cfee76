"""The journal in SQLite: what is stored comes back, and what cannot be stored is said and undone."""

from __future__ import annotations

import json
import sqlite3
import stat
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from actors.actor import Context
from actors.errors import StartFailed, StorageUnavailable
from actors.tables import Change
from registry import commands as c
from registry.actor import RegistryActor
from registry.kinds import BackendStatus, Durability
from registry.state.records import CountersRecord, ModelRecord
from registry.stores.schema import stored
from registry.stores.sqlite import SqliteJournal
from tests.registry.state.driver import State, backend
from tests.registry.stores.journals import TURN, opened, reopened, steps_of, turn


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where the journal is."""
    return tmp_path / "registry.db"


@pytest.fixture
def journal(path: Path) -> Iterator[SqliteJournal]:
    """An open journal."""
    with closing(opened(path)) as one:
        yield one


def settings(journal: SqliteJournal, name: str) -> int:
    """One of SQLite's settings, in the connection that the next turn uses."""
    (value,) = journal._connected().execute(f"PRAGMA {name}").fetchone()
    assert isinstance(value, int)
    return value


def test_new_file_is_empty_and_private(journal: SqliteJournal, path: Path) -> None:
    """A new journal holds nothing, and only its owner can read it and the files beside it."""
    loaded = journal.load()
    assert (list(loaded.rows), loaded.revision, loaded.turn) == ([], 0, None)
    journal.commit(turn(State(backend("a")), 1), 1, TURN)
    modes = {file.name: stat.S_IMODE(file.stat().st_mode) for file in path.parent.iterdir()}
    assert modes == dict.fromkeys(("registry.db", "registry.db-wal", "registry.db-shm"), 0o600)


def test_file_that_others_can_read_becomes_private(path: Path) -> None:
    """A file that came from a copy with wider rights gets its own ones again."""
    opened(path).close()
    path.chmod(0o644)
    with closing(opened(path)) as journal:
        journal.commit(turn(State(backend("a")), 1), 1, TURN)
        assert {stat.S_IMODE(file.stat().st_mode) for file in path.parent.iterdir()} == {0o600}


def test_round_trip(journal: SqliteJournal, path: Path) -> None:
    """Records, revision and turn come back as they were, in order of their arrival."""
    state = State(backend("b", "m", metadata={"ключ": 'a "quoted" value'}), backend("a", priority=-1))
    journal.commit(turn(state, 2), 5, TURN)
    rows, revision, latest = reopened(path)
    assert (revision, latest) == (2, (5, TURN))
    assert list(rows.items()) == [(("backends", id), state.get(id).record) for id in ("b", "a")]


def test_changes_replace_and_remove(journal: SqliteJournal, path: Path) -> None:
    """A changed record replaces the old one in its place, a removed one is gone."""
    state = State(backend("a", "m"), backend("b"), backend("c"))
    journal.commit(turn(state, 3), 1, TURN)
    state.apply(c.UpdateStatus("a", BackendStatus.UNHEALTHY, "down"))
    state.apply(c.UpdateModels("a", (ModelRecord("n"),)))
    state.apply(c.RemoveBackend("b"))
    journal.commit(turn(state, 6), 2, TURN)
    rows, revision, latest = reopened(path)
    assert list(rows.items()) == [(("backends", id), state.get(id).record) for id in ("a", "c")]
    assert (revision, latest) == (6, (2, TURN))


def test_record_that_is_removed_and_added_in_one_turn_comes_last(journal: SqliteJournal, path: Path) -> None:
    """The order of arrival is that of the state, also where one turn changes a key more than once."""
    state = State(backend("a"), backend("b"), backend("c"))
    journal.commit(turn(state, 3), 1, TURN)
    state.apply(c.RemoveBackend("a"))
    state.apply(c.AddBackend(backend("d")))
    state.apply(c.AddBackend(backend("a", "new")))
    state.apply(c.UpdateStatus("d", BackendStatus.UNHEALTHY, "down"))
    state.apply(c.RemoveBackend("c"))
    journal.commit(turn(state, 8), 2, TURN)
    assert list(reopened(path)[0].values()) == [state.get(id).record for id in ("b", "d", "a")]


def test_rows_can_be_read_by_people(journal: SqliteJournal, path: Path) -> None:
    """The tables are ordinary ones with JSON in them."""
    journal.commit(turn(State(backend("a")), 1), 1, TURN)
    with closing(sqlite3.connect(path)) as db:
        ((key, record),) = db.execute("SELECT key, record FROM backends").fetchall()
        ((steps,),) = db.execute("SELECT steps FROM history").fetchall()
    assert json.loads(key) == "a"
    assert json.loads(record)["url"] == "http://a:8000"
    assert json.loads(steps)[0]["changes"][0]["after"] == json.loads(record)


def test_saved_rows_come_back(journal: SqliteJournal, path: Path) -> None:
    """Rows of saved tables are written, replaced and deleted by themselves, and there is no trace of it elsewhere."""
    journal.save([("counters", "a", CountersRecord(1, 2, 3.5)), ("counters", "b", CountersRecord(4))])
    journal.save([("counters", "b", None), ("counters", "a", CountersRecord(5))])
    assert reopened(path) == ({("counters", "a"): CountersRecord(5)}, 0, None)
    assert list(journal.history(0)) == []


def test_only_durable_and_saved_tables_are_in_the_file(journal: SqliteJournal, path: Path) -> None:
    """Leases and what is in flight have no place in the file."""
    with closing(sqlite3.connect(path)) as db:
        names = {name for (name,) in db.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    assert names == {"journal", "history", "backends", "counters", "services", "beats", "lifetime"}
    assert names == {"journal", "history", *(table.name for table in stored(RegistryActor().tables))}
    assert list(journal.load().rows) == []


def test_directory_in_the_place_of_the_file(path: Path) -> None:
    """A path that cannot be opened is named, and is not called damaged."""
    path.mkdir()
    with pytest.raises(StartFailed, match=r"registry\.db cannot be used: it is a directory") as refusal:
        opened(path)
    assert type(refusal.value) is StartFailed


def test_file_that_another_program_holds(journal: SqliteJournal, path: Path) -> None:
    """A turn waits only so long for a foreign program that writes to the file, and goes through when it is done."""
    steps = turn(State(backend("a")), 1)
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(StorageUnavailable, match="another program holds the file"):
            journal.commit(steps, 1, TURN)
        other.execute("ROLLBACK")
    journal.commit(steps, 1, TURN)
    assert reopened(path)[1] == 1


@pytest.mark.parametrize(("durability", "synchronous"), [(Durability.PROCESS, 1), (Durability.POWER, 2)])
def test_durability_is_how_sqlite_waits_for_the_disk(path: Path, durability: Durability, synchronous: int) -> None:
    """`process` is NORMAL and `power` is FULL, also in a connection that was opened anew."""
    with closing(SqliteJournal(path, RegistryActor().tables, durability)) as journal:
        assert settings(journal, "synchronous") == synchronous
        assert not journal.holds(1)
        assert settings(journal, "synchronous") == synchronous


def test_failed_commit_stores_nothing_and_the_next_one_works(journal: SqliteJournal, path: Path) -> None:
    """A journal that cannot be written says so, keeps what it had, and goes on as soon as it can be written."""
    state = State(backend("a"))
    journal.commit(turn(state, 1), 1, TURN)
    state.apply(c.AddBackend(backend("b")))
    steps = turn(state, 2)
    journal._connected().execute("PRAGMA query_only = ON")  # what a file system that became read-only does
    with pytest.raises(StorageUnavailable, match="the file or its disk is read-only"):
        journal.commit(steps, 2, TURN)
    assert [key for _, key, _ in journal.load().rows] == ["a"]
    assert journal.holds(1)
    assert not journal.holds(2)
    journal.commit(steps, 2, TURN)
    assert journal.holds(2)
    rows, revision, _ = reopened(path)
    assert ([key for _, key in rows], revision) == (["a", "b"], 2)


def test_full_disk_in_the_middle_of_a_turn(journal: SqliteJournal, path: Path) -> None:
    """A turn that fits only in part is not stored at all."""
    state = State(backend("a"))
    journal.commit(turn(state, 1), 1, TURN)
    journal._connected().execute(f"PRAGMA max_page_count = {settings(journal, 'page_count') + 1}")
    for number in range(200):
        state.apply(c.AddBackend(backend(f"b{number}", "m" * 500)))
    steps = turn(state, 201)
    with pytest.raises(StorageUnavailable, match="the disk is full"):
        journal.commit(steps, 2, TURN)
    assert [key for _, key, _ in journal.load().rows] == ["a"]
    journal.commit(steps, 2, TURN)
    rows, revision, _ = reopened(path)
    assert (len(rows), revision) == (201, 201)


def test_turn_that_fails_in_the_middle_is_undone(journal: SqliteJournal, path: Path) -> None:
    """When one change of a turn cannot be stored, neither those before it nor its history are stored."""
    with closing(sqlite3.connect(path)) as db:
        db.execute(
            "CREATE TRIGGER refuse BEFORE INSERT ON backends WHEN NEW.key = '\"bad\"'"
            " BEGIN SELECT RAISE(ABORT, 'refused'); END"
        )
    with pytest.raises(StorageUnavailable, match="refused"):
        journal.commit(turn(State(backend("good"), backend("bad")), 2), 1, TURN)
    assert reopened(path) == ({}, 0, None)
    assert list(journal.history(0)) == []
    journal.commit(turn(State(backend("good")), 1), 1, TURN)
    assert reopened(path)[1] == 1


def test_connection_that_cannot_even_roll_back_is_replaced(journal: SqliteJournal, path: Path) -> None:
    """Whatever became of the connection, the next turn has one that works."""
    journal._connected().close()
    steps = turn(State(backend("a")), 1)
    with pytest.raises(StorageUnavailable):
        journal.commit(steps, 1, TURN)
    journal.commit(steps, 1, TURN)
    assert reopened(path)[1] == 1


def test_file_that_is_gone_is_not_made_anew(journal: SqliteJournal, path: Path) -> None:
    """An empty file in the place of one that somebody took away would pass for a registry without backends."""
    journal.commit(turn(State(backend("a")), 1), 1, TURN)
    path.rename(path.with_name("elsewhere"))
    with pytest.raises(StorageUnavailable, match="the file cannot be opened"):
        journal.holds(1)
    with pytest.raises(StorageUnavailable, match="the file cannot be opened"):
        journal.commit(turn(State(backend("b")), 2), 2, TURN)
    assert not path.exists()
    path.with_name("elsewhere").rename(path)
    assert journal.holds(1)


def test_uncommitted_turn_is_not_there_after_a_crash(journal: SqliteJournal, path: Path) -> None:
    """What a killed owner had not committed was never there."""
    journal.commit(turn(State(backend("a")), 1), 1, TURN)
    with closing(opened(path)) as dying:
        dying._connected().execute("BEGIN IMMEDIATE")
        dying._connected().execute("DELETE FROM backends")
    rows, revision, _ = reopened(path)
    assert ([key for _, key in rows], revision) == (["a"], 1)


def test_second_opening_of_the_same_file_changes_nothing(path: Path) -> None:
    """Starting again and again leaves the file as it was, to the last byte."""
    with closing(opened(path)) as journal:
        journal.commit(turn(State(backend("a")), 1), 1, TURN)
    before = path.read_bytes()
    assert reopened(path) == reopened(path)
    assert path.read_bytes() == before


def test_stored_backend_has_no_field_that_the_records_do_not_have(journal: SqliteJournal, path: Path) -> None:
    """What is in the file is the record and nothing else: no counts, and no secrets that somebody added."""
    state = State(backend("a", "m"))
    state.apply(c.IncrementPending("a"))
    journal.commit(turn(state, 1), 1, TURN)
    with closing(sqlite3.connect(path)) as db:
        ((record,),) = db.execute("SELECT record FROM backends").fetchall()
    assert set(json.loads(record)) == set(backend("a").__struct_fields__)
    ((_, _, loaded),) = journal.load().rows
    assert loaded == state.get("a").record


def test_context_is_all_an_actor_knows_of_time(journal: SqliteJournal) -> None:
    """The time of a change in the journal is that of the command's circumstances."""
    actor = RegistryActor()
    changes: list[Change] = []
    for table in actor.tables:
        table.changes = changes
    actor.apply(c.AddBackend(backend("a")), Context(1, 1, 9.0, 5.0, 1_234.5, 1, 0))
    journal.commit(steps_of(changes, 1), 1, TURN)
    ((_, _, record),) = journal.load().rows
    assert record.last_health_check_s == 1_234.5
