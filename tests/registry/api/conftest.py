"""A real registry behind a real gateway, for the tests of the control plane."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

import httpx2
import pytest

from registry import Registry, Supervisor
from tests.polling import until
from tests.registry.api.served import answer_probes, serve

ADMIN_KEY = "sk-admin-do-not-show"


class Served(NamedTuple):
    """A system with two gateways whose changes need a key.

    Attributes:
        supervisor: Of the system.
        url: Where the first gateway listens.
        client: Asks it, and sends the key.
        other: Asks the second one, and sends the key.
    """

    supervisor: Supervisor
    url: str
    client: httpx2.Client
    other: httpx2.Client

    @property
    def registry(self) -> Registry:
        """The same registry, without HTTP."""
        return self.supervisor.registry


@pytest.fixture(scope="session")
def running_system(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """One system for all these tests; take `served`, which is without backends and services."""
    directory = tmp_path_factory.mktemp("served")
    with ExitStack() as stack:
        supervisor = stack.enter_context(Supervisor())
        notes = [directory / "first", directory / "second"]
        for note in notes:
            supervisor.spawn(serve, str(note), ADMIN_KEY)
        supervisor.spawn(answer_probes)
        clients = [stack.enter_context(client_of(address_in(note))) for note in notes]
        yield Served(supervisor, str(clients[0].base_url).rstrip("/"), clients[0], clients[1])


def address_in(note: Path) -> str:
    """Where a gateway listens, once it has noted it."""
    until(note.exists, "the gateway serves", 20)
    return note.read_text(encoding="ascii")


def client_of(url: str) -> httpx2.Client:
    """A client that has the key."""
    return httpx2.Client(base_url=url, headers={"authorization": f"Bearer {ADMIN_KEY}"}, trust_env=False, timeout=20)


@pytest.fixture
def served(running_system: Served) -> Served:
    """The system, without backends and services."""
    for service in running_system.registry.list_services():
        running_system.registry.remove_service(service.name)
    for view in running_system.registry.get_all_backends(fresh=True):
        running_system.registry.remove_backend(view.id)
    return running_system
