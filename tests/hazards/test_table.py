"""`docs/hazards.md` and the tests agree."""

import ast
import re
from pathlib import Path

from tests.processes import ROOT

HAZARDS = 24


def rows() -> dict[int, list[str]]:
    """The tests of each hazard, as the table names them."""
    found = {}
    for line in (ROOT / "docs/hazards.md").read_text().splitlines():
        if match := re.match(r"\| (\d+) \|", line):
            cells = [cell.strip() for cell in line.strip("|").split("|")]
            assert len(cells) == 4
            assert all(cells)
            found[int(match[1])] = re.findall(r"`([^`]+)`", cells[3])
    return found


def named_in(path: Path) -> set[str]:
    """What pytest runs of a file: its test functions, and test cases that hypothesis has made."""
    names = set()
    for node in ast.parse(path.read_text()).body:
        if isinstance(node, ast.FunctionDef):
            names.add(node.name)
        elif isinstance(node, ast.Assign):
            names |= {target.id for target in node.targets if isinstance(target, ast.Name)}
    return {name for name in names if name.startswith(("test_", "Test"))}


def test_every_hazard_has_a_row_and_a_test() -> None:
    """All 24 are there, each with tests that exist."""
    table = rows()
    assert sorted(table) == list(range(1, HAZARDS + 1))
    assert all(table.values())
    missing = []
    for test in (test for tests in table.values() for test in tests):
        path, _, name = test.partition("::")
        if not (ROOT / path).is_file() or name not in named_in(ROOT / path):
            missing.append(test)
    assert not missing


def test_every_test_of_a_hazard_stands_in_its_row() -> None:
    """A test that bears a number is named in the row of that number."""
    table = rows()
    for path in sorted((ROOT / "tests" / "hazards").glob("test_*.py")):
        for name in named_in(path):
            if match := re.match(r"test_hazard_(\d\d)_", name):
                assert f"{path.relative_to(ROOT)}::{name}" in table[int(match[1])]
