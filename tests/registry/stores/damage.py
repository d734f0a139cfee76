"""Damage to a journal, and what holds of every journal that is refused or recovered."""

from __future__ import annotations

import sqlite3
import stat
from contextlib import closing
from pathlib import Path

import pytest

from actors.errors import JournalDamaged
from registry.actor import RegistryActor
from registry.stores.recovery import recover
from tests.registry.state.driver import State, backend
from tests.registry.stores.journals import TURN, Found, opened, reopened, turn

PAGE = 4096
TABLES = RegistryActor().tables


def overwrite(path: Path, at: int, content: bytes) -> None:
    """Write over a part of a file."""
    with path.open("r+b") as file:
        file.seek(at)
        file.write(content)


def change(path: Path, *statements: str) -> None:
    """Change a file behind the journal's back."""
    with closing(sqlite3.connect(path)) as db:
        for statement in statements:
            db.execute(statement)
        db.commit()


def pages_of(path: Path, name: str) -> list[int]:
    """The pages that hold rows of a table (its leaves), by number, from the file itself."""
    content = path.read_bytes()
    with closing(sqlite3.connect(path)) as db:
        ((root,),) = db.execute("SELECT rootpage FROM sqlite_master WHERE name = ?", (name,)).fetchall()
    path_to_leaves = [root]
    leaves = []
    while path_to_leaves:
        number = path_to_leaves.pop()
        start = (number - 1) * PAGE
        if content[start] in {13, 10}:
            leaves.append(number)
            continue
        count = int.from_bytes(content[start + 3 : start + 5], "big")
        cells = (int.from_bytes(content[start + 12 + 2 * i : start + 14 + 2 * i], "big") for i in range(count))
        path_to_leaves += [int.from_bytes(content[start + cell : start + cell + 4], "big") for cell in cells]
        path_to_leaves.append(int.from_bytes(content[start + 8 : start + 12], "big"))
    return sorted(leaves)


def wreck(path: Path, *numbers: int) -> None:
    """Write noise over pages."""
    for number in numbers:
        overwrite(path, (number - 1) * PAGE, b"\xee" * PAGE)


def without(found: Found, *ids: str) -> Found:
    """All records but those of some backends."""
    return {key: record for key, record in found.items() if key[1] not in ids}


LATEST = 90
"""The revision of the journal that `filled` makes: 60 backends, and 30 changes of them."""


def recovered(path: Path, latest: int = LATEST) -> Found:
    """What is there after a recovery; the original is kept, byte for byte, and nothing else is left behind."""
    before = {file.name.removeprefix("registry.db"): file.read_bytes() for file in path.parent.iterdir()}
    recover(path, TABLES)
    (kept,) = (file for file in path.parent.iterdir() if ".damaged-" in file.name and file.name.endswith("Z"))
    after = {file.name: file.read_bytes() for file in path.parent.iterdir() if file != path}
    # SQLite makes what ends with -shm anew whenever it opens the file.
    assert after == {f"{kept.name}{end}": content for end, content in before.items() if content and end != "-shm"}
    assert {stat.S_IMODE(file.stat().st_mode) for file in path.parent.iterdir()} == {0o600}
    rows, found_revision, _ = reopened(path)
    assert found_revision > latest
    with closing(opened(path)) as journal:  # and changes can be stored again, to be found by the next owner
        state = State(backend("later"))
        journal.commit(turn(state, found_revision + 1), 99, TURN)
        assert journal.oldest_revision() == found_revision + 1
    assert reopened(path)[0] == {**rows, ("backends", "later"): state.get("later").record}
    return rows


def refused(path: Path, *said: str) -> None:
    """The file is refused as damaged, with a sentence that names it and helps, and is left as it was."""
    before = path.read_bytes()
    with pytest.raises(JournalDamaged) as refusal, closing(opened(path)) as journal:
        list(journal.load().rows)
    for words in (f"the journal {path} is damaged: ", *said, "--recover keeps what is readable"):
        assert words in str(refusal.value)
    assert path.read_bytes() == before


def text_of(path: Path, number: int) -> str:
    """The bytes of a page, as text."""
    return path.read_bytes()[(number - 1) * PAGE : number * PAGE].decode("latin-1")
