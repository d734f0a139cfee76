"""The history in the journal: the steps that were stored, as far back as the bounds allow."""

from __future__ import annotations

import sqlite3
import tempfile
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from actors.errors import StorageUnavailable
from actors.journal import Step
from actors.tables import Change, Table
from registry import commands as c
from registry.errors import Compacted
from registry.stores import history
from registry.stores.history import StoredChange, StoredStep
from registry.stores.sqlite import SqliteJournal
from tests.registry.state.driver import State, backend
from tests.registry.stores.journals import TURN, WALL_S, builtin, opened, turn


class Named(msgspec.Struct, frozen=True, omit_defaults=True, rename="camel"):
    """A record with names for its fields in the file, which are not those in Python."""

    some_text: str = ""
    some_numbers: tuple[int, ...] = ()


class Bare(msgspec.Struct, frozen=True, array_like=True):
    """A record without names for its fields in the file."""

    number: int


NAMED: Table[str, Named] = Table("named", str, Named, durable=True)
BARE: Table[str, Bare] = Table("bare", tuple[str, int], Bare, durable=True)  # type: ignore[arg-type] # mypy takes no tuple type for a value
DICTS: Table[int, dict[str, int]] = Table("dicts", int, dict[str, int], durable=True)
TABLES: tuple[Table[Any, Any], ...] = (NAMED, BARE, DICTS)

KEYS = {NAMED: st.sampled_from("ab"), BARE: st.tuples(st.sampled_from("ab"), st.just(1)), DICTS: st.integers(0, 1)}
RECORDS: dict[Table[Any, Any], st.SearchStrategy[Any]] = {
    NAMED: st.builds(Named, st.text('aü"\\', max_size=3), st.lists(st.integers(0, 2), max_size=2).map(tuple)),
    BARE: st.builds(Bare, st.integers(0, 3)),
    DICTS: st.dictionaries(st.sampled_from("xyz"), st.integers(0, 2), max_size=2),
}

writes = st.sampled_from(TABLES).flatmap(
    lambda table: st.tuples(st.just(table), KEYS[table], st.none() | RECORDS[table])
)
turns = st.lists(st.lists(st.lists(writes, min_size=1, max_size=3), min_size=1, max_size=4), max_size=4)
"""For each turn, for each step, what it writes."""


def with_defaults(record: Any) -> Any:
    """A record as builtin types, whether what was the default was written or not."""
    return {"someText": "", "someNumbers": [], **builtin(record)} if isinstance(record, Named) else builtin(record)


def completed(change: StoredChange) -> StoredChange:
    """A stored change of which nothing depends on whether defaults were written."""
    if change.table != "named":
        return change
    empty = {"someText": "", "someNumbers": []}
    before, after = (None if one is None else {**empty, **one} for one in (change.before, change.after))
    return StoredChange(change.table, change.key, before, after)


@settings(deadline=None)
@given(turns)
def test_history_is_the_steps_that_were_stored(plan: list[list[list[tuple[Table[Any, Any], Any, Any]]]]) -> None:
    """Whatever the tables hold, each step comes back with its changes, before and after, and so do the tables."""
    state: dict[tuple[str, Any], Any] = {}
    expected: list[StoredStep] = []
    with tempfile.TemporaryDirectory() as directory, closing(SqliteJournal(Path(directory) / "db", TABLES)) as journal:
        for number, steps in enumerate(plan, 1):
            made = []
            for written in steps:
                revision = len(expected) + 1
                changes = []
                for table, key, after in written:
                    before = state.pop((table.name, key), None)
                    if before is after is None:
                        continue
                    changes.append(Change(table, key, before, after))
                    if after is not None:
                        state[table.name, key] = after
                step = Step(revision, number, f"cause {revision}", WALL_S + revision, changes)
                made.append(step)
                stored = (
                    StoredChange(one.table.name, builtin(one.key), with_defaults(one.before), with_defaults(one.after))
                    for one in changes
                )
                expected.append(StoredStep(revision, number, step.cause, step.wall_s, tuple(stored)))
            journal.commit(made, number, TURN)
        for since in range(len(expected) + 1):
            found = [
                msgspec.structs.replace(step, changes=tuple(map(completed, step.changes)))
                for step in journal.history(since)
            ]
            assert found == expected[since:]
        assert {(name, key): record for name, key, record in journal.load().rows} == state


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[SqliteJournal]:
    """An open journal."""
    with closing(opened(tmp_path / "registry.db")) as one:
        yield one


def grow(journal: SqliteJournal, first: int, last: int) -> None:
    """Turns of two steps each."""
    for number in range(first, last + 1):
        state = State(backend(f"a{number}"), backend(f"b{number}"))
        journal.commit(turn(state, 2 * number), number, TURN)


def turns_in(journal: SqliteJournal) -> int:
    """How many turns the history has."""
    (count,) = journal._connected().execute("SELECT count(*) FROM history").fetchone()
    assert isinstance(count, int)
    return count


@pytest.mark.parametrize("bound", ["turns", "bytes"])
def test_history_is_bounded(journal: SqliteJournal, monkeypatch: pytest.MonkeyPatch, bound: str) -> None:
    """Never more turns, or bytes, than the bound and its slack; the latest ones stay; a reopened file counts on."""
    grow(journal, 1, 1)
    ((size,),) = journal._connected().execute("SELECT size FROM history")
    if bound == "turns":
        monkeypatch.setattr(history, "MAX_TURNS", 20)
        monkeypatch.setattr(history, "SLACK_TURNS", 5)
    else:
        monkeypatch.setattr(history, "MAX_BYTES", 20 * size)
        monkeypatch.setattr(history, "SLACK_BYTES", 5 * size)
    counts = []
    for number in range(2, 60):
        grow(journal, number, number)
        counts.append(turns_in(journal))
    assert max(counts) <= 25
    assert min(counts[20:]) >= 17  # later turns are a little longer than the first one
    oldest = journal.oldest_revision()
    assert oldest > 40
    assert [step.revision for step in journal.history(oldest - 1)] == list(range(oldest, 119))
    with pytest.raises(Compacted) as refusal:
        journal.history(oldest - 2)
    assert (refusal.value.since, refusal.value.oldest) == (oldest - 2, oldest)
    journal.close()
    with closing(opened(journal._path)) as again:
        for number in range(60, 90):
            grow(again, number, number)
            assert turns_in(again) <= 25
        assert len(list(again.load().rows)) == 2 * 89


def test_far_too_long_history_goes_little_by_little(journal: SqliteJournal, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file from a version with wider bounds is brought to these without one turn that takes long."""
    grow(journal, 1, 60)
    monkeypatch.setattr(history, "MAX_TURNS", 5)
    monkeypatch.setattr(history, "SLACK_TURNS", 5)
    counts = []
    for number in range(61, 75):
        grow(journal, number, number)
        counts.append(turns_in(journal))
    assert counts[:3] == [51, 42, 33]
    assert counts[-1] <= 10


def test_latest_turn_stays_however_long_it_is(journal: SqliteJournal, monkeypatch: pytest.MonkeyPatch) -> None:
    """One turn that alone is over the bound is kept until the next one."""
    monkeypatch.setattr(history, "MAX_BYTES", 1)
    monkeypatch.setattr(history, "SLACK_BYTES", 1)
    grow(journal, 1, 5)
    assert turns_in(journal) == 1
    assert [step.revision for step in journal.history(8)] == [9, 10]


def test_compaction_that_fails_fails_no_turn(journal: SqliteJournal, monkeypatch: pytest.MonkeyPatch) -> None:
    """The turn is stored before anything is taken away, and what could not go goes later."""
    monkeypatch.setattr(history, "MAX_TURNS", 2)
    monkeypatch.setattr(history, "SLACK_TURNS", 2)
    db = journal._connected()
    db.execute("CREATE TRIGGER refuse BEFORE DELETE ON history BEGIN SELECT RAISE(ABORT, 'refused'); END")
    grow(journal, 1, 8)
    assert (turns_in(journal), len(list(journal.load().rows))) == (8, 16)
    db.execute("DROP TRIGGER refuse")
    grow(journal, 9, 12)
    assert turns_in(journal) <= 4


def test_history_that_is_read_while_it_grows(journal: SqliteJournal, monkeypatch: pytest.MonkeyPatch) -> None:
    """A slow reader holds up no turn, and sees what is stored meanwhile."""
    monkeypatch.setattr(history, "_READ_AT_A_TIME", 2)
    grow(journal, 1, 5)
    reading = journal.history(3)
    assert next(reading).revision == 4
    grow(journal, 6, 7)
    assert [step.revision for step in reading] == list(range(5, 15))


def test_reader_that_compaction_has_overtaken(journal: SqliteJournal, monkeypatch: pytest.MonkeyPatch) -> None:
    """A reader never misses a step without being told."""
    monkeypatch.setattr(history, "_READ_AT_A_TIME", 2)
    grow(journal, 1, 5)
    reading = journal.history(0)
    assert next(reading).revision == 1
    monkeypatch.setattr(history, "MAX_TURNS", 1)
    monkeypatch.setattr(history, "SLACK_TURNS", 3)
    grow(journal, 6, 7)
    with pytest.raises(Compacted):
        list(reading)


def test_history_of_a_new_journal(journal: SqliteJournal) -> None:
    """It begins with the next change, and has nothing to tell."""
    assert journal.oldest_revision() == 1
    assert list(journal.history(0)) == []


def test_history_that_is_damaged(journal: SqliteJournal) -> None:
    """Who asks for it is told, and the journal goes on."""
    grow(journal, 1, 2)
    journal._connected().execute("UPDATE history SET steps = '[{]' WHERE last = 2")
    with pytest.raises(StorageUnavailable, match="the history is damaged"):
        list(journal.history(0))
    grow(journal, 3, 3)


def test_history_has_the_cause_and_the_fields_that_changed(journal: SqliteJournal) -> None:
    """A row of the history tells people what happened, without repeating what stayed as it was."""
    state = State(backend("a", "m"))
    journal.commit(turn(state, 1), 1, TURN)
    state.apply(c.UpdateModels("a", ()))
    journal.commit(turn(state, 2), 2, TURN)
    with closing(sqlite3.connect(journal._path)) as db:
        ((text,),) = db.execute("SELECT steps FROM history WHERE last = 2").fetchall()
    ((change,),) = [step["changes"] for step in msgspec.json.decode(text)]
    assert change["was"] == {"models": [builtin(model) for model in backend("a", "m").models], "revision": 1}
    assert change["after"]["models"] == []
