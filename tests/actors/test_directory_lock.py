import os
from pathlib import Path

import pytest

from actors.errors import AlreadyRunning
from actors.processes.directory_lock import lock_directory


def test_a_second_system_is_told_who_holds_the_directory(tmp_path: Path) -> None:
    """The refusal names the directory and what the holder wrote down."""
    fd = lock_directory(tmp_path, "first (pid 1)")
    with pytest.raises(AlreadyRunning, match=r"in use by first \(pid 1\)") as raised:
        lock_directory(tmp_path, "second", patience_s=0.0)
    assert raised.value.directory == str(tmp_path)
    os.close(fd)
    os.close(lock_directory(tmp_path, "second", patience_s=0.0))


def test_the_lock_lasts_as_long_as_any_duplicate(tmp_path: Path) -> None:
    """An owner that outlives its supervisor for a moment still keeps others out."""
    fd = lock_directory(tmp_path, "first")
    duplicate = os.dup(fd)
    os.close(fd)
    with pytest.raises(AlreadyRunning):
        lock_directory(tmp_path, "second", patience_s=0.0)
    os.close(duplicate)
    os.close(lock_directory(tmp_path, "second", patience_s=0.0))


def test_a_shorter_name_replaces_a_longer_one_whole(tmp_path: Path) -> None:
    """Nothing of the former holder's name is left."""
    os.close(lock_directory(tmp_path, "a very long name of a holder"))
    fd = lock_directory(tmp_path, "b")
    assert (tmp_path / "lock").read_text() == "b"
    os.close(fd)
