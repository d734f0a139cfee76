"""No room on the disk: a limit on the size of files stands in for it, in programs of their own."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from tests.processes import ROOT
from tests.registry.state.driver import State, backend
from tests.registry.stores.journals import TURN, filled, opened, renumber, reopened, turn
from tests.registry.stores.programs import PER_TURN, turn_number


def said_by(*arguments: str) -> str:
    """What a program of `programs` prints; it must end well."""
    program = [sys.executable, "-m", "tests.registry.stores.programs", *arguments]
    run = subprocess.run(program, cwd=ROOT, capture_output=True, text=True, check=False, timeout=60)
    assert run.returncode == 0, run.stderr
    assert run.stderr == ""
    return run.stdout.strip()


@pytest.mark.parametrize("room", [75_000, 100_000, 200_000])
def test_disk_that_is_full_for_a_while(tmp_path: Path, room: int) -> None:
    """Turns without room are refused, reads go on, and when there is room all goes on without a restart."""
    path = tmp_path / "registry.db"
    assert said_by("fill", str(path), str(room)) == "200 3"
    state = State()
    for number in range(1, 201):
        turn_number(state, number)
    rows, revision, latest = reopened(path)
    assert list(rows.items()) == [(("backends", id), one) for id, one in state.actor.backends.records.items()]
    assert (revision, latest) == (200 * PER_TURN, (200, TURN))


@pytest.mark.parametrize(("room", "change"), [(0, "refused"), (1, "refused"), (4_096, "refused"), (32_767, "stored")])
def test_start_on_a_full_disk(tmp_path: Path, room: int, change: str) -> None:
    """A journal is opened and read where nothing at all can be written; and written as soon as there is room.

    With a little room there may be enough for a small turn, though not for the index that SQLite shares.
    """
    path = tmp_path / "registry.db"
    model = filled(path)
    assert said_by("start", str(path), str(room)) == f"{len(model)} rows, {change} and True"
    assert len(reopened(path)[0]) == len(model) + 1


@pytest.mark.parametrize("room", [0, 32_767])
def test_start_on_a_full_disk_after_a_kill(tmp_path: Path, room: int) -> None:
    """The same with what a killed owner left: a write-ahead log that could not be worked off."""
    path = tmp_path / "registry.db"
    model = filled(path)
    with closing(opened(path)) as journal:
        journal.commit(turn(State(backend("last")), 91), 40, TURN)
        content = {end: Path(f"{path}{end}").read_bytes() for end in ("", "-wal")}
    for end, data in content.items():
        Path(f"{path}{end}").write_bytes(data)
    assert said_by("start", str(path), str(room)) == f"{len(model) + 1} rows, refused and True"
    assert len(reopened(path)[0]) == len(model) + 2


@pytest.mark.parametrize("room", [0, 4_096, 32_767])
def test_new_file_on_a_full_disk(tmp_path: Path, room: int) -> None:
    """Where there is no room for a journal the start fails with a sentence, and the next one works."""
    path = tmp_path / "registry.db"
    said = said_by("start", str(path), str(room))
    assert said.startswith(f"StartFailed: the journal {path} cannot be used: the disk ")
    assert reopened(path) == ({}, 0, None)


def test_migration_on_a_full_disk(tmp_path: Path) -> None:
    """A file of format 1 is left as it is, and the start fails with a sentence."""
    path = tmp_path / "registry.db"
    model = filled(path)
    with closing(sqlite3.connect(path)) as db:
        db.execute("DROP TABLE history")
    renumber(path, 1)
    before = path.read_bytes()
    said = said_by("start", str(path), "0")
    assert said.startswith(f"StartFailed: the journal {path} cannot be used: the disk ")
    assert path.read_bytes() == before
    assert reopened(path)[0] == model
