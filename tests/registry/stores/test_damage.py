"""Damaged journals: each kind of damage is said with the right error, and what is readable is kept."""

from __future__ import annotations

import logging
import os
import random
import sqlite3
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from actors.errors import JournalDamaged, StartFailed
from registry import commands as c
from registry.stores.recovery import recover
from registry.stores.schema import FORMAT
from tests.registry.state.driver import State, backend
from tests.registry.stores.damage import (
    LATEST,
    PAGE,
    TABLES,
    change,
    overwrite,
    pages_of,
    recovered,
    refused,
    text_of,
    without,
    wreck,
)
from tests.registry.stores.journals import TURN, filled, opened, renumber, reopened, turn


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where the journal is."""
    return tmp_path / "registry.db"


def test_the_model_is_right(path: Path) -> None:
    """What these tests damage is whole before, has several pages of everything, and `--recover` leaves it alone."""
    model = filled(path)
    assert len(pages_of(path, "backends")) > 5
    assert len(pages_of(path, "sqlite_autoindex_backends_1")) == 1
    before = path.read_bytes()
    recover(path, TABLES)
    assert path.read_bytes() == before
    found, revision, _ = reopened(path)
    assert (found, revision) == (model, LATEST)


def test_recovery_of_nothing(path: Path) -> None:
    """No file, and a file that nothing was ever written to, are the beginning of a journal."""
    recover(path, TABLES)
    assert not path.exists()
    path.touch()
    recover(path, TABLES)
    assert reopened(path) == ({}, 0, None)
    assert len(list(path.parent.iterdir())) == 1


@pytest.mark.parametrize("number", [FORMAT + 1, FORMAT + 7])
def test_newer_format(path: Path, number: int) -> None:
    """A file that a newer version wrote is refused and left as it is, and `--recover` does not touch it either."""
    filled(path)
    renumber(path, number)
    before = path.read_bytes()
    for attempt in (lambda: recover(path, TABLES), lambda: opened(path)):
        with pytest.raises(JournalDamaged, match=rf"has format {number}, .* a newer actor-registry wrote it"):
            attempt()
    assert path.read_bytes() == before
    assert [file.name for file in path.parent.iterdir() if "damaged" in file.name] == []


def test_directory_in_the_place_of_the_file(path: Path) -> None:
    """What is no file cannot be recovered, and is not called damaged."""
    path.mkdir()
    with pytest.raises(StartFailed, match="it is a directory") as refusal:
        recover(path, TABLES)
    assert type(refusal.value) is StartFailed


@pytest.mark.parametrize(
    ("statement", "said", "lost"),
    [
        ("UPDATE backends SET record = '{' WHERE key = '\"b007\"'", 'row 8 (key "b007"): ', "b007"),
        ("UPDATE backends SET record = '[]' WHERE key = '\"b007\"'", "Expected `object`, got `array`", "b007"),
        ("UPDATE backends SET record = '' WHERE key = '\"b007\"'", "truncated", "b007"),
        ("UPDATE backends SET record = x'ff' WHERE key = '\"b007\"'", "row 8", "b007"),
        ("UPDATE backends SET record = 5 WHERE key = '\"b007\"'", "Expected `object`", "b007"),
        ("UPDATE backends SET record = replace(record, '\"priority\":0', '\"priority\":\"x\"') WHERE rowid = 8",
         "Expected `int`, got `str` - at `$.priority`", "b007"),
        ("UPDATE backends SET record = replace(record, 'priority', 'prioritx') WHERE rowid = 8", "prioritx", "b007"),
        ("UPDATE backends SET key = '7' WHERE rowid = 8", "(key 7): Expected `str`, got `int`", "b007"),
        ("UPDATE backends SET key = 'b007' WHERE rowid = 8", "(key b007): ", "b007"),
        ("UPDATE backends SET key = NULL WHERE rowid = 8", "row 8", "b007"),
    ],
)  # fmt: skip
def test_row_that_does_not_fit(path: Path, statement: str, said: str, lost: str) -> None:
    """A row that is not JSON, or not of the table's type, is named; a recovery drops it and keeps all others."""
    model = filled(path)
    change(path, statement)
    refused(path, "in table 'backends'", said)
    assert recovered(path) == without(model, lost)


@pytest.mark.parametrize(
    ("statements", "said"),
    [
        (["DELETE FROM journal"], "the row that holds its revision is missing or makes no sense"),
        (["UPDATE journal SET revision = -1"], "makes no sense"),
        (["UPDATE journal SET revision = 'many'"], "makes no sense"),
        (["UPDATE journal SET turn = 'x'"], "makes no sense"),
        (["UPDATE journal SET record = NULL"], "makes no sense"),
        (["DROP TABLE journal"], "its table 'journal' is missing"),
        (["DROP TABLE history"], "its table 'history' is missing"),
        (["CREATE TABLE poems (a)"], "a table that nobody knows, 'poems'"),
        (["PRAGMA user_version = -5"], "its format is given as -5"),
        (["PRAGMA user_version = 1000000"], "its format is given as 1000000"),
    ],
)
def test_file_that_makes_no_sense(path: Path, statements: list[str], said: str) -> None:
    """What is not the work of this program is refused; a recovery keeps the backends and a revision that is new."""
    model = filled(path)
    change(path, *statements)
    refused(path, said)
    assert recovered(path) == model


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda path: path.write_bytes(b"this is no database\n" * 100), "file is not a database"),
        (lambda path: path.write_bytes(os.urandom(8 * PAGE)), "file is not a database"),
        (lambda path: path.write_bytes(b"\0" * 8 * PAGE), "file is not a database"),
        (lambda path: path.write_bytes(b"S"), "it ends in the middle of a page"),
    ],
)
def test_garbage(path: Path, damage: Callable[[Path], None], said: str) -> None:
    """A file of which nothing can be read is refused; a recovery begins anew, with a revision beyond all others."""
    damage(path)
    refused(path, said)
    assert recovered(path) == {}
    assert reopened(path)[1] > 1_700_000_000_000_000


@pytest.mark.parametrize("length", [16, 100, PAGE])
def test_garbage_at_the_beginning(path: Path, length: int) -> None:
    """All that SQLite finds its way by is on the first page; the rows are elsewhere, and a recovery keeps them all."""
    model = filled(path)
    overwrite(path, 0, b"\xee" * length)
    refused(path)
    assert recovered(path) == model
    assert reopened(path)[1] == LATEST + 2  # the recovery has taken one, and the turn after it


def test_page_of_rows(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """The rows of one page are lost, and named; those of the pages before and behind it are kept."""
    model = filled(path)
    leaves = pages_of(path, "backends")
    wreck(path, leaves[2])
    refused(path, "in table 'backends'")
    with caplog.at_level(logging.WARNING):
        kept = recovered(path)
    assert 45 < len(kept) < 60
    assert kept.items() <= model.items()
    for _, lost in model.keys() - kept.keys():
        assert f'"{lost}" (row ' in caplog.text
    assert f"{len(kept)} rows kept, {60 - len(kept)} known to be lost" in caplog.text
    assert "the revision goes on with 91" in caplog.text
    assert "there may have been others" not in caplog.text


def test_several_pages_of_rows(path: Path) -> None:
    """Sound pages between damaged ones are kept, even if the index that names the rows is damaged as well."""
    model = filled(path)
    leaves = pages_of(path, "backends")
    sound = {key: record for key, record in model.items() if f'"{key[1]}"' in text_of(path, leaves[4])}
    assert len(sound) > 2
    wreck(path, leaves[1], leaves[2], leaves[6], *pages_of(path, "sqlite_autoindex_backends_1"))
    refused(path)
    kept = recovered(path)
    assert sound.items() <= kept.items() <= model.items()
    assert len(kept) > 30


def test_first_and_last_pages_of_rows(path: Path) -> None:
    """Also the first and the last page of a table may be the damaged ones."""
    model = filled(path)
    leaves = pages_of(path, "backends")
    wreck(path, leaves[0], leaves[-1])
    refused(path)
    kept = recovered(path)
    assert 30 < len(kept) < 60
    assert kept.items() <= model.items()


def test_page_that_leads_to_the_rows(path: Path) -> None:
    """A table of which only the first page is damaged has all its rows in others, and they are kept."""
    model = filled(path)
    with closing(sqlite3.connect(path)) as db:
        ((root,),) = db.execute("SELECT rootpage FROM sqlite_master WHERE name = 'backends'").fetchall()
    assert root not in pages_of(path, "backends")
    wreck(path, root)
    refused(path)
    assert recovered(path) == model


def test_rows_longer_than_a_page(path: Path) -> None:
    """A row that goes on in other pages is found there too, and one that was deleted is not found again."""
    state = State(*(backend(f"b{number}", *(f"model-{at}" for at in range(50 * number))) for number in range(9)))
    with closing(opened(path)) as journal:
        journal.commit(turn(state, 9), 1, TURN)
        for id in ("b3", "b7"):
            state.apply(c.RemoveBackend(id))
        journal.commit(turn(state, 11), 2, TURN)
    with closing(sqlite3.connect(path)) as db:
        ((root,),) = db.execute("SELECT rootpage FROM sqlite_master WHERE name = 'backends'").fetchall()
    assert root not in pages_of(path, "backends")
    wreck(path, root, *pages_of(path, "sqlite_autoindex_backends_1"))
    refused(path)
    assert recovered(path, 11) == {("backends", id): record for id, record in state.actor.backends.records.items()}


def test_rows_that_were_deleted(path: Path) -> None:
    """What was deleted may still stand in pages that are free, and is not found again there."""
    filled(path)
    state = State(*(backend(f"b{number:03}") for number in range(60)))
    state.changes.clear()
    gone = [f"b{number:03}" for number in range(15, 45)]
    for id in gone:
        state.apply(c.RemoveBackend(id))
    with closing(opened(path)) as journal:
        journal._connected().execute("PRAGMA secure_delete = OFF")  # which some builds of SQLite have on
        journal.commit(turn(state, LATEST + len(gone)), 40, TURN)
    with closing(sqlite3.connect(path)) as db:
        assert db.execute("PRAGMA freelist_count").fetchone() > (2,)
        ((root,),) = db.execute("SELECT rootpage FROM sqlite_master WHERE name = 'backends'").fetchall()
    assert b'"b030"' in path.read_bytes()
    wreck(path, root, *pages_of(path, "sqlite_autoindex_backends_1"))
    refused(path)
    assert {key for _, key in recovered(path)} == set(state.ids())


def test_index(path: Path) -> None:
    """An index that is damaged costs no row; it would have let two rows of one key in."""
    model = filled(path)
    wreck(path, *pages_of(path, "sqlite_autoindex_backends_1"))
    refused(path)
    assert recovered(path) == model


@pytest.mark.parametrize("table", ["journal", "history"])
def test_the_place_of_the_revision(path: Path, table: str) -> None:
    """The revision stands in two places; one is enough to go on, and the rows are not concerned."""
    model = filled(path)
    wreck(path, *pages_of(path, table))
    if table == "journal":
        refused(path)
    assert recovered(path) == model
    assert reopened(path)[1] == LATEST + 2  # the recovery has taken one, and the turn after it


def test_both_places_of_the_revision(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """If no revision can be found it goes on with one that nobody can have seen, and that is said with its reason."""
    model = filled(path)
    wreck(path, *pages_of(path, "journal"), *pages_of(path, "history"))
    refused(path)
    with caplog.at_level(logging.WARNING):
        assert recovered(path) == model
    assert reopened(path)[1] > 1_700_000_000_000_000
    assert "no revision could be read, so it goes on with" in caplog.text
    assert "the microseconds since 1970: more than there can have been changes" in caplog.text


def test_part_of_the_places_of_the_revision(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """If the latest turn of the history is lost, an older one is not taken for it."""
    filled(path, turns=60)
    wreck(path, *pages_of(path, "journal"), pages_of(path, "history")[-1])
    with caplog.at_level(logging.WARNING):
        recovered(path)
    assert "was found and may not be the latest" in caplog.text
    assert reopened(path)[1] > 1_700_000_000_000_000


@pytest.mark.parametrize("part", [0.1, 0.3, 0.5, 0.7, 0.9, 0.999])
def test_truncated_file(path: Path, part: float) -> None:
    """A file that ends too early is refused, and what stands before its end is kept."""
    model = filled(path)
    with path.open("r+b") as file:
        file.truncate(int(path.stat().st_size * part))
    refused(path)
    kept = recovered(path)
    assert kept.items() <= model.items()
    assert len(kept) >= 60 * part - 50


def test_emptied_file(path: Path) -> None:
    """An empty file beside a write-ahead log is not taken for a new one: SQLite would throw the log away."""
    with closing(opened(path)) as journal:
        state = State(backend("a"))
        journal.commit(turn(state, 1), 1, TURN)
        content = {end: Path(f"{path}{end}").read_bytes() for end in ("", "-wal")}
    for end, data in content.items():
        Path(f"{path}{end}").write_bytes(data if end else b"")
    refused(path, "it is empty, and the write-ahead log beside it is not")
    recover(path, TABLES)
    assert reopened(path)[:2] == ({("backends", "a"): state.get("a").record}, 2)


def test_write_ahead_log_of_a_damaged_file(path: Path) -> None:
    """What a killed owner had stored is in the log beside the file: both are kept, and so is what the log says."""
    model = filled(path)
    with closing(opened(path)) as journal:
        state = State(backend("later"))
        journal.commit(turn(state, 91), 40, TURN)
        content = {end: Path(f"{path}{end}").read_bytes() for end in ("", "-wal")}
    places = [pages_of(path, name) for name in ("history", "backends")]
    for end, data in content.items():
        Path(f"{path}{end}").write_bytes(data)
    log = content["-wal"]
    in_log = {int.from_bytes(log[at : at + 4], "big") for at in range(32, len(log), PAGE + 24)}
    wreck(path, *(next(number for number in numbers if number not in in_log) for numbers in places))
    refused(path)
    assert Path(f"{path}-wal").read_bytes() == content["-wal"]
    kept = recovered(path)
    assert kept["backends", "later"] == state.get("later").record
    assert 45 < len(kept) < 61
    assert without(kept, "later").items() <= model.items()


@pytest.mark.parametrize("trial", range(12))
def test_random_bytes(path: Path, trial: int) -> None:
    """Whatever bytes are flipped: no row comes back other than it was, and a recovery keeps all but a few."""
    seed = random.randrange(2**32)
    sys.stderr.write(f"seed {seed}\n")
    chance = random.Random(seed)
    model = filled(path)
    content = bytearray(path.read_bytes())
    if trial % 2:  # in a few pages, else anywhere
        pages = chance.sample(range(len(content) // PAGE), 3)
        places = [PAGE * page + chance.randrange(PAGE) for page in pages for _ in range(10)]
    else:
        places = [chance.randrange(len(content)) for _ in range(20)]
    for place in places:
        content[place] ^= 0x80
    path.write_bytes(content)
    try:
        found = reopened(path)[0]
    except JournalDamaged:
        recover(path, TABLES)
        found = reopened(path)[0]
        assert any(".damaged-" in file.name for file in path.parent.iterdir())
    assert found.items() <= model.items()
    assert len(found) > 15


def test_damage_that_is_met_in_a_turn(path: Path) -> None:
    """A commit that runs into damage says what helps."""
    filled(path)
    with closing(opened(path)) as journal:
        journal._connected().execute("PRAGMA cache_size = 0")
        wreck(path, *pages_of(path, "sqlite_autoindex_backends_1"))
        with pytest.raises(Exception, match="the file is damaged; stop everything and start with --recover"):
            journal.commit(turn(State(backend("later")), 91), 40, TURN)
