"""What the tests of hazards share."""

from collections.abc import Iterator

import pytest

from tests.actors.systems import System


@pytest.fixture
def system() -> Iterator[System]:
    """A system of real processes that runs for one test."""
    system = System()
    yield system
    system.close()
