"""The file that tells the command line where the server of a data directory is called."""

from __future__ import annotations

import os
import signal
import stat
import urllib.request
from pathlib import Path

from registry.directory import StateDirectory
from registry.server_file import NAME, ServerFile, read_server_file, remove_server_file
from tests.polling import until
from tests.processes import Program, program


def serving(run: Program) -> str:
    """The address of a server, once it serves."""
    return until(run.address, "the server serves", 20)


def arguments(directory: Path) -> list[str]:
    """A small server that keeps its state in a directory."""
    return ["-m", "registry", "serve", "--port", "0", "--gateways", "1", "--data-dir", str(directory)]


def answers(url: str) -> bool:
    """Whether a server is alive there."""
    with urllib.request.urlopen(f"{url}/livez", timeout=10) as response:  # noqa: S310 - http
        return bool(response.status == 200)


def test_file_is_private_and_whole(tmp_path: Path) -> None:
    """It is for its owner only, replaces an older one, and leaves nothing unfinished behind."""
    (tmp_path / f"{NAME}.new").write_text("of a process that was killed")
    for pid in (1, 2):
        ServerFile("http://a", pid).write(tmp_path)
        assert read_server_file(tmp_path) == ServerFile("http://a", pid)
    assert stat.S_IMODE((tmp_path / NAME).stat().st_mode) == 0o600
    assert [path.name for path in tmp_path.iterdir()] == [NAME]


def test_removing_no_file(tmp_path: Path) -> None:
    """There need not be one to be removed."""
    remove_server_file(tmp_path)
    remove_server_file(tmp_path / "no")


def test_file_of_a_predecessor(tmp_path: Path) -> None:
    """Whoever takes a directory takes the file of a killed predecessor away, and its own when it leaves."""
    ServerFile("http://a", 1).write(tmp_path)
    directory = StateDirectory(tmp_path, "me")
    assert not (tmp_path / NAME).exists()
    directory.announce("http://b")
    assert read_server_file(tmp_path) == ServerFile("http://b", os.getpid())
    directory.close()
    assert not (tmp_path / NAME).exists()


def test_file_that_cannot_be_written(tmp_path: Path) -> None:
    """A server that cannot write it serves all the same, and says what will be missing."""
    (tmp_path / NAME / "in the way").mkdir(parents=True)
    with program(*arguments(tmp_path)) as run:
        assert answers(serving(run))
        assert "the command line will need --server" in run.stderr
        run.kill(signal.SIGTERM)
        assert run.ends() == 0
        assert "Traceback" not in run.stderr


def test_file_lasts_as_long_as_the_server(tmp_path: Path) -> None:
    """It names what can be called; of a killed server the command says so until the next one serves."""
    command = ["-m", "registry", "backends", "--json", "--data-dir", str(tmp_path)]
    with program(*arguments(tmp_path), "--host", "0.0.0.0") as first:
        serving(first)
        found = read_server_file(tmp_path)
        assert (found.pid, found.url.rpartition(":")[0]) == (first.process.pid, "http://127.0.0.1")
        assert answers(found.url)
        first.kill()
        first.ends()
        first.leaves_nothing_running()
    with program(*command) as told:
        assert told.ends() == 3
        assert f"names {found.url}, but process {found.pid} that served there was killed" in told.stderr
    with program(*arguments(tmp_path)) as second:
        serving(second)
        with program(*command) as told:
            assert told.ends() == 0, told.stderr
        second.kill(signal.SIGTERM)
        assert second.ends() == 0
        assert not (tmp_path / NAME).exists()
