"""What is printed: whole and on one line for programs, without commands to the terminal for people."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from datetime import datetime
from pathlib import Path
from typing import BinaryIO

import pytest

from registry.cli.changes import Change, RowChange
from registry.cli.output import print_json, print_json_line, print_table
from tests.processes import ROOT, program

LONG = "backend-" + "0123456789" * 30


class Terminal(io.StringIO):
    """Standard output that is a terminal."""

    def isatty(self) -> bool:
        return True


def test_cells_for_programs_are_whole(capsys: pytest.CaptureFixture[str]) -> None:
    """No cell is cut, folded or coloured, no line ends with spaces, and numbers stand to the right."""
    print_table(("id", "n", "url"), [(LONG, "7", "http://a"), ("b", "12345", LONG)], numbers=("n",))
    head, first, second = capsys.readouterr().out.splitlines()
    assert head.split() == ["id", "n", "url"]
    assert first.split() == [LONG, "7", "http://a"]
    assert second.split() == ["b", "12345", LONG]
    assert first.index("7  http") == second.index("5  backend")
    assert head == head.rstrip()


def test_cells_on_a_terminal_are_folded(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is too wide for a terminal goes on in the next line, and nothing is lost."""
    terminal = Terminal()
    monkeypatch.setattr(sys, "stdout", terminal)
    monkeypatch.setenv("COLUMNS", "40")
    monkeypatch.setenv("TERM", "xterm")
    print_table(("id",), [(LONG,)])
    head, *lines = terminal.getvalue().splitlines()
    assert "\x1b[1m" in head
    assert all(len(line) <= 40 for line in lines)
    assert "".join(line.strip() for line in lines) == LONG


def test_names_cannot_command_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    """Neither escape sequences nor the marks of the table's library have a meaning in a name."""
    print_table(("id",), [("[red]a\x1b[31m\nb\u202e\ud800",)])
    assert capsys.readouterr().out == "id\n[red]a\\x1b[31m\\nb\\u202e\\ud800\n"


def test_json_is_ascii(capsys: pytest.CaptureFixture[str]) -> None:
    """JSON can be printed wherever ASCII can."""
    print_json({"id": "ж\x9b"})
    print_json_line({"id": "ж"})
    assert capsys.readouterr().out == '{\n  "id": "\\u0436\\u009b"\n}\n{"id": "\\u0436"}\n'


def change(*rows: RowChange, by: str = "gateway-1") -> Change:
    """A change of some rows."""
    return Change(revision=7, at=datetime.fromisoformat("2026-01-02T03:04:05Z"), session=3, by=by, rows=list(rows))


@pytest.mark.parametrize(
    ("before", "after", "said"),
    [
        (None, {"url": "http://a"}, "added, http://a"),
        (None, {}, "added"),
        ({"url": "http://a"}, None, "removed"),
        ({"status": "unknown"}, {"status": "healthy", "url": "http://a"}, "status unknown → healthy"),
        ({"last_error": None, "weight": 1}, {"last_error": "no", "weight": 3}, "last_error none → no, weight 1 → 3"),
        ({"name": "", "x": True}, {"name": "a", "x": False}, 'name "" → a, x true → false'),
        ({"last_health_check_s": 1.0, "revision": 2}, {"last_health_check_s": 2.0, "revision": 3}, "checked"),
        (
            {"labels": {"a": "1", "b": "2"}},
            {"labels": {"a": "3", "c": "4"}},
            "labels.a 1 → 3, labels.b 2 → none, labels.c none → 4",
        ),
        (
            {"models": [{"id": "a"}, {"id": "b", "n": 1}]},
            {"models": [{"id": "b", "n": 2}, {"id": "c"}]},
            "models +c -a ~b",
        ),
        ({"models": [{"id": "a"}, {"id": "b"}]}, {"models": [{"id": "b"}, {"id": "a"}]}, "models in another order"),
        ({"x": [1, [2]]}, {"x": [1, [3]]}, "x +[3] -[2]"),
        ([1, "a"], [2, "a"], '[1,"a"] → [2,"a"]'),
    ],
)
def test_change_in_words(before: object, after: object, said: str) -> None:
    """What was altered is told with before and after, what was not is left out."""
    assert str(RowChange("backends", "gpu-1", before, after)) == f"backend gpu-1: {said}"


@pytest.mark.parametrize(
    ("before", "after", "said"),
    [
        (None, {"url": "http://a", "status": "running"}, "added, http://a"),
        ({"url": "http://a"}, None, "removed"),
        ({"is_healthy": True, "revision": 1}, {"is_healthy": False, "revision": 2}, "is_healthy true → false"),
        ({"health_status": "unknown"}, {"health_status": "healthy"}, "health_status unknown → healthy"),
        (
            {"metadata": {"models": ["a"], "n": 1}},
            {"metadata": {"models": ["a", "b"], "type": "openai-api"}},
            "metadata.models +b, metadata.n 1 → none, metadata.type none → openai-api",
        ),
    ],
)
def test_change_of_a_service_in_words(before: object, after: object, said: str) -> None:
    """It reads as that of a backend does."""
    assert str(RowChange("services", "s", before, after)) == f"service s: {said}"


def test_change_on_one_line() -> None:
    """A change of several rows is one line, and names cannot break it."""
    added = change(RowChange("backends", "a\n", None, {}), RowChange("traffic", ["m", 1], {}, None))
    assert added.line().startswith("7  2026-01-0")
    assert added.line().endswith('  gateway-1  backend a\\n: added; traffic ["m",1]: removed')
    assert [row[0] for row in added.cells()] == ["7", ""]
    assert "  session 3  " in change(RowChange("backends", "a"), by="").line()


def writing_to(output: BinaryIO, *arguments: str) -> tuple[int, bytes]:
    """Exit code and complaints of a command whose output goes somewhere; it is buffered, as it usually is."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    command = [sys.executable, "-m", "registry", *arguments]
    ran = subprocess.run(command, cwd=ROOT, env=environment, stdout=output, stderr=subprocess.PIPE, check=False)
    return ran.returncode, ran.stderr


@pytest.mark.parametrize("arguments", [["--version"], ["backends", "--help"]])
def test_output_that_is_full(arguments: list[str]) -> None:
    """A full disk under the output is a sentence."""
    with Path("/dev/full").open("wb") as full:
        assert writing_to(full, *arguments) == (1, b"actor-registry: No space left on device\n")


def test_output_that_nobody_reads() -> None:
    """A reader that has left, such as `head`, is nothing to speak of."""
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "wb") as pipe:
        assert writing_to(pipe, "--help") == (1, b"")


def test_words_that_the_shell_completes() -> None:
    """After the name of a group its commands are offered, and not the options of the one that is meant by default."""
    script = "import sys; sys.argv = ['actor-registry']; from registry.cli.__main__ import main; sys.exit(main())"
    words = {"COMP_WORDS": "actor-registry leases ", "COMP_CWORD": "2", "_ACTOR_REGISTRY_COMPLETE": "complete_bash"}
    with program("-c", script, **words) as run:
        run.ends()
        assert run.stdout.split() == ["list", "release"]
