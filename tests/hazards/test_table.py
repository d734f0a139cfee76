"""`docs/hazards.md` and the tests agree."""

import re

from tests.processes import ROOT
from tests.tables import missing, named_in, rows

HAZARDS = 24

NOT_OURS = {"12"}
"""Hazards that another layer has to meet; the table says which."""

TABLE = rows("docs/hazards.md", r"\d+")


def test_every_hazard_has_a_row_and_a_test() -> None:
    """All 24 are there, each with tests that exist."""
    assert list(TABLE) == [str(number) for number in range(1, HAZARDS + 1)]
    assert {number for number, tests in TABLE.items() if not tests} == NOT_OURS
    assert missing(test for tests in TABLE.values() for test in tests) == []


def test_every_test_of_a_hazard_stands_in_its_row() -> None:
    """A test that bears a number is named in the row of that number."""
    for path in sorted((ROOT / "tests" / "hazards").glob("test_*.py")):
        for name in named_in(path):
            if match := re.match(r"test_hazard_(\d\d)_", name):
                assert f"{path.relative_to(ROOT)}::{name}" in TABLE[str(int(match[1]))]
