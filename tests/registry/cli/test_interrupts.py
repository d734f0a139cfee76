"""Ctrl-C at any moment of a command: it ends, and no traceback is shown."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.processes import program

COMMAND = """
import sys
sys.argv = ["actor-registry", *sys.argv[1:]]
from registry.cli.__main__ import main
sys.exit(main())
"""
AT_IMPORT = """
import signal, sys

class Dying:
    def __del__(self):  # what is raised here nobody can catch, as in many a line of Python's own imports
        signal.raise_signal(signal.SIGINT)

def interrupt(event, arguments):
    if event == "import" and arguments[0] == "{module}":
        Dying()

sys.addaudithook(interrupt)
"""
AT_THE_END = """
import atexit, signal
atexit.register(signal.raise_signal, signal.SIGINT)
"""
HALFWAY = """
import signal, registry.server
registry.server.watch_signals = lambda *_: signal.raise_signal(signal.SIGINT)
"""
SERVE = ("serve", "--port", "0", "--gateways", "1", "--ephemeral")
RUN = ("run", "--name", "x", "--port", "9", "--", "true")


@pytest.mark.parametrize(
    ("arguments", "module"),
    [
        (SERVE, "registry.cli.app"),
        (SERVE, "typer"),
        (SERVE, "registry.config"),
        (SERVE, "registry.server"),
        (RUN, "registry.babysitter.babysitter"),
        (("services", "list"), "registry.cli.services"),
        (("services", "list", "--server", "http://127.0.0.1:9"), "httpx2"),
    ],
)
def test_while_modules_are_loaded(arguments: tuple[str, ...], module: str) -> None:
    """It ends the command with exit code 130 and without a word."""
    with program("-c", AT_IMPORT.format(module=module) + COMMAND, *arguments) as run:
        assert (run.ends(), run.stdout, run.stderr) == (130, "", "")
        run.leaves_nothing_running()


@pytest.mark.parametrize("arguments", [("--version",), ("services", "list", "--server", "http://127.0.0.1:9")])
def test_when_all_is_done(arguments: tuple[str, ...]) -> None:
    """While Python ends it shows no traceback either."""
    with program("-c", AT_THE_END + COMMAND, *arguments) as run:
        assert run.ends() == 130
        assert "Traceback" not in run.stderr


def test_when_something_is_to_be_undone(tmp_path: Path) -> None:
    """A server that has just made its temporary directory removes it."""
    with program("-c", HALFWAY + COMMAND, *SERVE, TMPDIR=str(tmp_path)) as run:
        assert run.ends() == 130
        assert "Traceback" not in run.stderr
    assert list(tmp_path.iterdir()) == []


def test_where_it_is_ignored() -> None:
    """A command whose parent has it ignore Ctrl-C, as a shell does in the background, goes on ignoring it."""
    ignoring = "import signal; signal.signal(signal.SIGINT, signal.SIG_IGN)"
    with program("-c", ignoring + AT_IMPORT.format(module="registry.cli.app") + COMMAND, "--version") as run:
        assert (run.ends(), run.stdout != "") == (0, True)


def test_packages_are_loaded_in_a_moment() -> None:
    """What is loaded before the command's first line, where Ctrl-C cannot be obeyed yet, is little."""
    loaded = "import sys; old = set(sys.modules); import registry.cli; print(*sorted(set(sys.modules) - old))"
    with program("-S", "-c", loaded) as run:
        assert run.ends() == 0, run.stderr
        assert "actors.lazy" in run.stdout.split()
        assert not {"typing", "enum", "re", "signal", "typer"} & set(run.stdout.split())
