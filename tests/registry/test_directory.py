"""The directory of a system: who has it, and what becomes of it."""

import os
import stat
from pathlib import Path

import msgspec
import pytest

from actors.errors import AlreadyRunning, StartFailed
from actors.processes import directory_lock
from registry.directory import StateDirectory, default_directory
from registry.owner import Options


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody is leaving here, so nobody waits for it."""
    monkeypatch.setattr(directory_lock.lock_directory, "__defaults__", (0.0,))


def test_directory_is_made_for_its_owner_alone(tmp_path: Path) -> None:
    """A new directory, with those above it, can be read by nobody else."""
    directory = StateDirectory(tmp_path / "a" / "b", "me")
    assert stat.S_IMODE(directory.path.stat().st_mode) == 0o700
    directory.close()
    assert directory.path.is_dir()


def test_second_holder_is_told_who_the_first_is(tmp_path: Path) -> None:
    """A directory in use is refused with the name that its holder wrote down."""
    first = StateDirectory(tmp_path, "first (pid 7)")
    with pytest.raises(AlreadyRunning, match=r"is in use by first \(pid 7\)") as refusal:
        StateDirectory(tmp_path, "second (pid 8)")
    assert (refusal.value.directory, refusal.value.holder) == (str(tmp_path), "first (pid 7)")
    first.close()


def test_directory_can_be_taken_after_it_was_left(tmp_path: Path) -> None:
    """The next holder's name replaces a longer one whole."""
    StateDirectory(tmp_path, "somebody with a long name (pid 12345)").close()
    second = StateDirectory(tmp_path, "b (pid 2)")
    with pytest.raises(AlreadyRunning) as refusal:
        StateDirectory(tmp_path, "third")
    assert refusal.value.holder == "b (pid 2)"
    second.close()


def test_lock_lasts_as_long_as_a_duplicate_of_its_descriptor(tmp_path: Path) -> None:
    """The directory is taken while an owner still holds the descriptor it was handed."""
    first = StateDirectory(tmp_path, "first")
    owners = os.dup(first.lock_fd)
    first.close()
    with pytest.raises(AlreadyRunning):
        StateDirectory(tmp_path, "second")
    os.close(owners)
    StateDirectory(tmp_path, "second").close()


def test_temporary_directory_is_removed() -> None:
    """An ephemeral directory is private, and goes with what is in it."""
    directory = StateDirectory(None, "me")
    assert stat.S_IMODE(directory.path.stat().st_mode) == 0o700
    (directory.path / "registry.db").touch()
    directory.close()
    assert not directory.path.exists()


def test_temporary_directory_may_be_gone_already() -> None:
    """The owner removes it too; whoever is second does not mind."""
    directory = StateDirectory(None, "me")
    (directory.path / "lock").unlink()
    directory.path.rmdir()
    directory.close()


@pytest.mark.parametrize("ephemeral", [False, True])
def test_owner_is_told_of_it(tmp_path: Path, ephemeral: bool) -> None:
    """The owner learns the absolute path, and whether to remove it."""
    directory = StateDirectory(None if ephemeral else tmp_path, "me")
    options = msgspec.msgpack.decode(directory.owner_options(), type=Options)
    assert options == Options(str(directory.path), ephemeral)
    assert directory.path.is_absolute()
    directory.close()


def test_path_that_cannot_be_a_directory(tmp_path: Path) -> None:
    """A file in the way is named, with the reason."""
    (tmp_path / "file").touch()
    with pytest.raises(StartFailed, match=r"the data directory .*file/sub cannot be used: Not a directory"):
        StateDirectory(tmp_path / "file" / "sub", "me")


def test_default_directory(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """State lives under the XDG state directory, or where that is by default."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    assert default_directory() == tmp_path / "actor-registry"
    monkeypatch.setenv("XDG_STATE_HOME", "")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert default_directory() == tmp_path / ".local" / "state" / "actor-registry"
