"""One running system for all tests of the seeds, empty at the start of each."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from registry import Registry, Supervisor
from tests.registry.seeds.crew import Crew
from tests.registry.systems import emptied

CREW = 4
"""How many processes work at the same time."""


@pytest.fixture(scope="package")
def running_supervisor() -> Iterator[Supervisor]:
    """The system."""
    with Supervisor() as supervisor:
        yield supervisor


@pytest.fixture
def registry(running_supervisor: Supervisor) -> Registry:
    """The registry, with nothing in it."""
    emptied(running_supervisor.registry)
    return running_supervisor.registry


@pytest.fixture(scope="package")
def crew(running_supervisor: Supervisor) -> Iterator[Crew]:
    """Worker processes of the system."""
    crew = Crew(running_supervisor, CREW)
    yield crew
    crew.close()
