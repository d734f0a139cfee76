"""A real registry behind a real gateway, for the tests of the control plane."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import httpx2
import pytest

from registry import Registry, Supervisor
from tests.polling import until
from tests.registry.api.served import serve

ADMIN_KEY = "sk-admin-do-not-show"


class Served(NamedTuple):
    """A system with a gateway whose changes need a key.

    Attributes:
        supervisor: Of the system.
        url: Where the gateway listens.
        client: Sends the key.
    """

    supervisor: Supervisor
    url: str
    client: httpx2.Client

    @property
    def registry(self) -> Registry:
        """The same registry, without HTTP."""
        return self.supervisor.registry


@pytest.fixture(scope="session")
def running_system(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """One system for all these tests; take `served`, which is without backends."""
    notes = tmp_path_factory.mktemp("served") / "address"
    with Supervisor() as supervisor:
        supervisor.spawn(serve, str(notes), ADMIN_KEY)
        url = until(lambda: notes.exists() and notes.read_text(encoding="ascii"), "the gateway serves", 20)
        assert isinstance(url, str)
        headers = {"authorization": f"Bearer {ADMIN_KEY}"}
        with httpx2.Client(base_url=url, headers=headers, trust_env=False, timeout=20) as client:
            yield Served(supervisor, url, client)


@pytest.fixture
def served(running_system: Served) -> Served:
    """The system, without backends."""
    for view in running_system.registry.get_all_backends(fresh=True):
        running_system.registry.remove_backend(view.id)
    return running_system
