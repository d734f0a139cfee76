"""Services that are backends: one backend for each server that any service names.

A backend that is there anyway, from the configuration or by hand, is used and left alone. One that a service has made
and somebody removes comes back with the next registration or change of such a service, or with a new owner.
"""

from __future__ import annotations

from itertools import chain, count
from typing import TYPE_CHECKING

from actors.tables import Table
from registry.kinds import BackendStatus, DiscoverySource
from registry.state.backends import Backends
from registry.state.records import BackendRecord, ModelRecord
from registry.state.servers import Said, Servers
from registry.state.service_records import ServiceRecord
from registry.state.traffic import Traffic
from registry.urls import normalise_url, server_key, with_loopback

if TYPE_CHECKING:
    from actors.actor import Context

MAX_ID_CHARS = 512


class ServiceBackends:
    """Keeps the backends that services make.

    Args:
        services: The table of services.
        servers: What they say.
        backends: Where the backends are kept.
        traffic: What is counted of backends, and forgotten with them.
    """

    def __init__(
        self, services: Table[str, ServiceRecord], servers: Servers, backends: Backends, traffic: Traffic
    ) -> None:
        self._services = services
        self._servers = servers
        self._backends = backends
        self._traffic = traffic

    def settle(self, server: str, was: Said | None, context: Context) -> None:
        """Let the backend of a server follow what services say of it now.

        Args:
            server: Its key.
            was: What they said before.
            context: The circumstances.
        """
        said = self._servers.of(server)
        made = self._made(server)
        if said is None:
            for id in made:
                self._remove(id)
        elif server not in self._backends.servers:
            self._add(server, said, context)
        elif was is not None:
            for id in made:
                self._follow(id, was, said, context)

    def configured(self, url: str, context: Context) -> None:
        """Somebody else has added, changed or removed a backend of this URL: there is one of it still, and not two."""
        server = server_key(url) if self._servers.named else ""
        said = self._servers.of(server)
        if said is None:
            return
        made = self._made(server)
        if server not in self._backends.servers:
            self._add(server, said, context)
        elif len(made) < len(self._backends.servers[server]):
            for id in made:
                self._remove(id)

    def astray(self) -> set[str]:
        """The servers whose backends are not what services say: after a journal was recovered in part."""
        made = {server for server in self._backends.servers if self._made(server)}
        named = self._servers.named.keys()
        return (made - named) | (named - self._backends.servers.keys())

    def _made(self, server: str) -> list[str]:
        return [
            id
            for id in self._backends.servers.get(server, ())
            if self._backends.require(id).discovery_source is DiscoverySource.SERVICE
        ]

    def _remove(self, id: str) -> None:
        self._backends.remove(id)
        self._traffic.forget(id)

    def _add(self, server: str, said: Said, context: Context) -> None:
        first = self._services.get(self._servers.first(server))
        if first is None:
            return
        url = with_loopback(normalise_url(first.url))
        id = self._free_id(url.partition("://")[2])
        if len(id) > MAX_ID_CHARS:
            return
        status = BackendStatus.UNKNOWN if said.runs else BackendStatus.DRAINING
        models = tuple(ModelRecord(model) for model in said.models)
        source = DiscoverySource.SERVICE
        record = BackendRecord(
            id, first.name[:MAX_ID_CHARS], url, status=status, models=models, discovery_source=source
        )
        self._backends.add(record, context.revision + 1, context.wall_s)

    def _free_id(self, wanted: str) -> str:
        ids = chain((wanted,), (f"{wanted}-{number}" for number in count(2)))
        return next(id for id in ids if id not in self._backends.records)

    def _follow(self, id: str, was: Said, said: Said, context: Context) -> None:
        revision = context.revision + 1
        if set(said.models) != set(was.models):
            known = {model.id: model for model in self._backends.require(id).models}
            models = tuple(known.get(model) or ModelRecord(model) for model in said.models)
            self._backends.update_models(id, models, revision)
        if said.runs and not was.runs:
            self._backends.undrain(id, revision, context.wall_s)
        elif was.runs and not said.runs:
            self._backends.drain(id, revision, context.wall_s)
