"""`actor-registry watch`: changes as they happen, whatever becomes of the server."""

from __future__ import annotations

import itertools
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from registry.server_file import NAME
from tests.polling import until
from tests.processes import ROOT, Program, program
from tests.registry.cli.commands import Command, Served


@contextmanager
def watching(directory: Path, *arguments: str) -> Iterator[Program]:
    """A running `watch`."""
    with program("-m", "registry", "watch", "--data-dir", str(directory), *arguments) as run:
        yield run


def revision_of(command: Command) -> int:
    """The present revision."""
    revision = command("status", "--json").json()["revision"]
    assert isinstance(revision, int)
    return revision


def lines(run: Program, enough: int) -> list[str]:
    """What it has printed, once there are so many lines."""

    def printed() -> list[str]:
        assert run.process.poll() is None, run.stderr
        found = run.stdout.splitlines()
        return found if len(found) >= enough else []

    return until(printed, f"{enough} changes are printed", 20)


def changes(run: Program, enough: int) -> list[Any]:
    """The same with `--json`."""
    return [json.loads(line) for line in lines(run, enough)]


def ends_by_ctrl_c(run: Program) -> None:
    """Ctrl-C ends it at once and quietly."""
    said = run.stderr
    run.kill(signal.SIGINT)
    assert run.ends() == 130
    assert run.stderr == said


def test_changes_as_they_happen(command: Command, served: Served) -> None:
    """Those after a revision first, then each as it is made, until Ctrl-C."""
    since = revision_of(command)
    command("backends", "add", "http://seen")
    with watching(served.directory, "--since", str(since)) as run, watching(served.directory, "--json") as other:
        (first,) = lines(run, 1)
        assert first.startswith(f"{since + 1}  ")
        assert first.endswith("  gateway-1  backend seen: added, http://seen")
        # The other one sees only what is made after it has connected, and it does not say when that is.
        weights = itertools.count(2)

        def seen_by_the_other() -> str:
            assert command("backends", "update", "seen", "--weight", str(next(weights))).code == 0
            return other.stdout

        until(seen_by_the_other, "it watches")
        command("backends", "remove", "seen")
        last = revision_of(command)
        until(lambda: f"{last}  " in run.stdout, "the last change is printed")
        until(lambda: f'"revision": {last}' in other.stdout, "the last change is printed")
        revisions = [int(line.split()[0]) for line in run.stdout.splitlines()]
        assert revisions == list(range(since + 1, last + 1))
        others = [change["revision"] for change in changes(other, 1)]
        assert others == list(range(others[0], last + 1))
        assert others[0] > since + 1
        ends_by_ctrl_c(run)
        ends_by_ctrl_c(other)


def test_gateway_that_is_killed(command: Command, served: Served) -> None:
    """A connection that breaks is made again, which is said, and no change is missed or told twice."""
    since = revision_of(command)
    with watching(served.directory, "--json", "--since", str(since)) as run:
        command("backends", "add", "http://through")
        changes(run, 1)
        os.kill(served.gateway(), signal.SIGKILL)
        until(lambda: "trying again in" in run.stderr, "the loss is noticed")
        until(lambda: f"connected again, from revision {since + 1} on" in run.stderr, "it is connected again", 20)
        command("backends", "remove", "through")
        assert [change["revision"] for change in changes(run, 2)] == [since + 1, since + 2]
        ends_by_ctrl_c(run)


@contextmanager
def serving(directory: Path) -> Iterator[Program]:
    """A server of a directory, once it serves."""
    with program("-m", "registry", "serve", "--port", "0", "--gateways", "1", "--data-dir", str(directory)) as run:
        until(run.address, "the server serves", 20)
        yield run


def test_server_that_is_started_again(command: Command, served: Served, tmp_path: Path) -> None:
    """The next server of the directory is found at its new address, and one of another state is told from it."""
    where = ("--data-dir", str(tmp_path / "a"))
    with serving(tmp_path / "a") as first, watching(tmp_path / "a", "--json", "--since", "0") as run:
        # Nobody asks draining backends how they are, so nothing else is changed.
        for url in ("http://a", "http://b"):
            command("backends", "add", url, "--status", "draining", *where)
        changes(run, 2)
        first.kill()
        first.leaves_nothing_running()
        until(lambda: "trying again in" in run.stderr, "the loss is noticed")
        with serving(tmp_path / "a"):
            command("backends", "remove", "a", *where)
            assert [change["revision"] for change in changes(run, 3)] == [1, 2, 3]
            ends_by_ctrl_c(run)
            goes_over(command, served, tmp_path)


def goes_over(command: Command, served: Served, path: Path) -> None:
    """A watch whose directory comes to name the server of another one, which is at revision 3, notices it."""
    (path / "b").mkdir()
    (path / "b" / NAME).write_bytes((served.directory / NAME).read_bytes())
    while (since := revision_of(command)) < 5:
        command("backends", "add", f"http://many-{since}")
    with watching(path / "b", "--json", "--since", str(since - 1)) as run:
        changes(run, 1)
        (path / "b" / NAME).write_bytes((path / "a" / NAME).read_bytes())
        os.kill(served.gateway(), signal.SIGKILL)
        said = f"has begun anew: it is at revision 3, {since} was seen"
        until(lambda: said in run.stderr, "it is noticed", 20)
        until(lambda: "connected again, from revision 3 on" in run.stderr, "it is connected again", 20)
        command("backends", "add", "http://c", "--status", "draining", "--data-dir", str(path / "a"))
        assert changes(run, 2)[1]["revision"] == 4
        ends_by_ctrl_c(run)


def test_no_server_from_the_start(command: Command, tmp_path: Path) -> None:
    """Who watches nothing is told so at once."""
    assert command("watch", "--data-dir", str(tmp_path)).sentence(3).startswith("no server was found")


@pytest.mark.parametrize("since", ["-1", "99999999999999999999"])
@pytest.mark.usefixtures("served")
def test_revision_out_of_its_limits(command: Command, since: str) -> None:
    """A refusal at the start is no lost connection."""
    assert "since" in command("watch", "--since", since).sentence(1)


def test_reader_that_leaves(command: Command, served: Served) -> None:
    """When nobody reads any more, the next change ends it without a word."""
    since = revision_of(command)
    command("backends", "add", "http://unread")
    reading, writing = os.pipe()
    os.close(reading)
    arguments = ["-m", "registry", "watch", "--since", str(since), "--data-dir", str(served.directory)]
    with os.fdopen(writing, "wb") as pipe:
        ran = subprocess.run(
            [sys.executable, *arguments], cwd=ROOT, stdout=pipe, stderr=subprocess.PIPE, check=False, timeout=20
        )
    assert (ran.returncode, ran.stderr) == (1, b"")
    command("backends", "remove", "unread")
