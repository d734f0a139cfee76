"""Tables in `docs/` that name tests."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable
from pathlib import Path

from tests.processes import ROOT


def rows(document: str, number: str) -> dict[str, list[str]]:
    """What the last column of a table names, by what the first holds; no cell is empty.

    Args:
        document: The file, such as `docs/hazards.md`.
        number: Pattern of what the first column holds.
    """
    found = {}
    for line in (ROOT / document).read_text().splitlines():
        if match := re.match(rf"\| ({number}) \|", line):
            cells = [cell.strip() for cell in line.strip("|").split("|")]
            assert len(cells) == 4
            assert all(cells)
            assert match[1] not in found
            found[match[1]] = re.findall(r"`([^`]+)`", cells[3])
    return found


def named_in(path: Path) -> set[str]:
    """What pytest runs of a file: its functions, and test cases that hypothesis has made."""
    names = set()
    for node in ast.parse(path.read_text()).body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            names.add(node.name)
        elif isinstance(node, ast.Assign):
            names |= {target.id for target in node.targets if isinstance(target, ast.Name)}
    return {name for name in names if name.startswith(("test_", "prop_", "Test"))}


def missing(tests: Iterable[str]) -> list[str]:
    """Those of some tests, named as pytest names them, that are not there."""
    found = []
    for test in tests:
        path, _, name = test.partition("::")
        if not (ROOT / path).is_file() or name not in named_in(ROOT / path):
            found.append(test)
    return found
