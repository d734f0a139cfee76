"""The files of a recovery: the damaged one cannot be lost, and the recovered one takes its place once it is whole."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from actors.errors import StartFailed
from registry.stores import recovery
from registry.stores.recovery import recover
from tests.registry.stores.damage import (
    TABLES,
    pages_of,
    recovered,
    refused,
    wreck,
)
from tests.registry.stores.journals import filled, reopened


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where the journal is."""
    return tmp_path / "registry.db"


@pytest.mark.parametrize("step", ["link", "rename", "replace"])
def test_interrupted_recovery(path: Path, monkeypatch: pytest.MonkeyPatch, step: str) -> None:
    """A recovery may be interrupted anywhere: the damaged file is not lost, and the next start goes on."""
    model = filled(path)
    wreck(path, *pages_of(path, "journal"))
    damaged = path.read_bytes()

    def die(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(os if step == "link" else Path, step, die)
        with pytest.raises(KeyboardInterrupt):
            recover(path, TABLES)
    assert damaged in [file.read_bytes() for file in path.parent.iterdir() if file.is_file()]
    if step == "replace":  # what is readable is complete, and only its name is missing
        assert reopened(path)[0] == model
    else:
        refused(path)
        recover(path, TABLES)
        assert reopened(path)[0] == model
    assert damaged in [file.read_bytes() for file in path.parent.iterdir()]


def test_file_system_without_links(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where a file cannot have two names, the damaged one is copied."""

    def refuse(*_: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    model = filled(path)
    wreck(path, *pages_of(path, "journal"))
    monkeypatch.setattr(os, "link", refuse)
    assert recovered(path) == model


def test_second_recovery_keeps_the_first_damaged_file(path: Path) -> None:
    """Each damaged file has a name of its own, also within one second."""
    filled(path)
    for _ in range(3):
        path.write_bytes(b"garbage" * 1000)
        recover(path, TABLES)
    assert len([file for file in path.parent.iterdir() if ".damaged-" in file.name]) == 3


def test_no_room_for_what_is_kept(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """If the recovered file cannot be written the start fails with a sentence, and the damaged file is as it was."""

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    filled(path)
    wreck(path, *pages_of(path, "journal"))
    before = path.read_bytes()
    monkeypatch.setattr(recovery, "_write", full)
    with pytest.raises(StartFailed, match="cannot be used: No space left on device"):
        recover(path, TABLES)
    assert [file.name for file in path.parent.iterdir() if file.is_dir()] == []
    assert path.read_bytes() == before
