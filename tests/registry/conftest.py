from collections.abc import Iterator

import pytest

from registry import Supervisor
from tests.polling import until
from tests.registry.systems import A


@pytest.fixture(scope="module")
def running_supervisor() -> Iterator[Supervisor]:
    """One system for all tests of a file that leave it alive, with one backend."""
    with Supervisor() as supervisor:
        supervisor.registry.add_backend(A)
        yield supervisor


@pytest.fixture
def supervisor(running_supervisor: Supervisor) -> Supervisor:
    """The system, idle."""

    def is_idle() -> bool:
        return not any(view.pending_requests for view in running_supervisor.registry.get_all_backends())

    until(is_idle, "whoever held something before has gone")
    return running_supervisor
