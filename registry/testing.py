"""Fixtures for the tests of programs that use the registry.

In a `conftest.py` at the top of the tests, or in a test module:

    pytest_plugins = ["registry.testing"]
"""

from __future__ import annotations

from collections.abc import Iterator

from registry.client import Registry
from registry.supervisor import Supervisor

try:
    import pytest
except ImportError as error:
    raise ImportError("registry.testing has fixtures for pytest, which is not installed: pip install pytest") from error

__all__ = ["registry_supervisor", "running_registry"]


@pytest.fixture
def registry_supervisor() -> Iterator[Supervisor]:
    """A system of its own for one test, empty and in a scratch directory; nothing of it is left afterwards.

    `spawn` starts worker processes of it, and `path` lets other programs join it with `registry.connect`.
    """
    with Supervisor() as supervisor:
        yield supervisor


@pytest.fixture
def running_registry(registry_supervisor: Supervisor) -> Registry:
    """The registry of `registry_supervisor`, for the test's own process and all its threads."""
    return registry_supervisor.registry
