from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from registry import Registry, Supervisor
from tests.polling import until
from tests.registry.faces import FACES, Make
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


@pytest.fixture(params=FACES)
def make(request: pytest.FixtureRequest, supervisor: Supervisor) -> Iterator[Make]:
    """Makes registries of one kind, and closes them."""
    with ExitStack() as stack:

        def made() -> Registry:
            registry = FACES[request.param](supervisor._handle.attach())
            stack.callback(registry.close)
            return registry

        yield made
