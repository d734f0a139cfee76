"""What services say of servers: which of them name each as a backend, and what they say it has."""

from __future__ import annotations

from collections import Counter
from itertools import islice
from typing import NamedTuple

from registry.errors import InvalidField
from registry.state.records import MAX_MODELS
from registry.state.service_metadata import declared_models, is_backend
from registry.state.service_records import ServiceRecord
from registry.urls import server_key

RUNNING = "running"
"""The status of a service that may be given requests."""


class Said(NamedTuple):
    """What the services that name a server say together.

    Attributes:
        models: Ids of all models that they declare, in the order in which they came to be declared.
        runs: Whether any of them has status `running`.
    """

    models: tuple[str, ...]
    runs: bool


class _Server:
    """What is said of one server.

    Attributes:
        names: The services that name it, first come, first.
        models: How many of them declare each model.
        running: How many of them run.
    """

    __slots__ = ("models", "names", "running")

    def __init__(self) -> None:
        self.names: dict[str, None] = {}
        self.models: Counter[str] = Counter()
        self.running = 0


class Servers:
    """Derived from the table of services. A change costs what it says, however many others name the same server."""

    def __init__(self) -> None:
        self.named: dict[str, _Server] = {}

    def service_changed(self, name: str, before: ServiceRecord | None, after: ServiceRecord | None) -> None:
        """A service came, went or was changed."""
        if says_the_same(before, after):
            return
        old, new = server_of(before), server_of(after)
        if before is not None and old is not None:
            self._leave(old, name, before, stays=old == new)
        if after is not None and new is not None:
            self._join(new, name, after)

    def _leave(self, key: str, name: str, record: ServiceRecord, *, stays: bool) -> None:
        server = self.named[key]
        server.running -= record.status == RUNNING
        for model in declared_models(record):
            server.models[model] -= 1
            if not server.models[model]:
                del server.models[model]
        if not stays:
            del server.names[name]
            if not server.names:
                del self.named[key]

    def _join(self, key: str, name: str, record: ServiceRecord) -> None:
        server = self.named.setdefault(key, _Server())
        server.names[name] = None
        server.running += record.status == RUNNING
        for model in declared_models(record):
            server.models[model] += 1

    def of(self, key: str) -> Said | None:
        """What is said of a server; None if no service names it."""
        server = self.named.get(key)
        return None if server is None else Said(tuple(islice(server.models, MAX_MODELS)), server.running > 0)

    def first(self, key: str) -> str:
        """The service that has named a server for the longest time; some service must name it."""
        return next(iter(self.named[key].names))


def says_the_same(before: ServiceRecord | None, after: ServiceRecord | None) -> bool:
    """Whether a change leaves alone what a service says of a backend."""
    return (
        before is not None
        and after is not None
        and before.metadata is after.metadata
        and before.url == after.url
        and before.status == after.status
    )


def server_of(record: ServiceRecord | None) -> str | None:
    """The key of the server that a service names as a backend; None if it names none that can be used."""
    if record is None or not is_backend(record):
        return None
    try:
        return server_key(record.url)
    except InvalidField:
        return None
