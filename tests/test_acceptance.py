"""`docs/acceptance.md`, the tests and the Makefile agree."""

from __future__ import annotations

import re

from tests.processes import ROOT
from tests.tables import missing, rows

CRITERIA = (3, 4, 5, 4, 5, 5, 5, 6, 4, 4, 6)
"""How many criteria each task of the specification has, from T01 on."""

BENCHMARK = "python -m bench registry"

TABLE = rows("docs/acceptance.md", r"T\d\d\.\d")


def test_every_criterion_has_a_row_that_names_something() -> None:
    """All 51 are there, in order."""
    assert list(TABLE) == [
        f"T{task:02}.{number}" for task, count in enumerate(CRITERIA, 1) for number in range(1, count + 1)
    ]
    assert all(TABLE.values())


def test_every_test_that_is_named_is_there() -> None:
    """No row rests on a test that was renamed or removed."""
    assert missing(one for named in TABLE.values() for one in named if one.startswith("tests/")) == []


def test_every_command_that_is_named_is_there() -> None:
    """What is no test is a target of the Makefile, or the benchmark."""
    targets = {f"make {name}" for name in re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)}
    commands = {one for named in TABLE.values() for one in named if not one.startswith("tests/")}
    assert {"make lint", "make test", "make docs"} <= commands
    assert commands <= targets | {BENCHMARK}
