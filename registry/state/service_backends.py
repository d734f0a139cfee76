"""Services that are backends: one backend for each server that any service names.

A backend that is there anyway, from the configuration or by hand, is used and left alone.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import chain, count, islice
from typing import TYPE_CHECKING, NamedTuple

from actors.tables import Table
from registry.errors import InvalidField
from registry.kinds import BackendStatus, DiscoverySource
from registry.state.backends import Backends
from registry.state.records import MAX_MODELS, BackendRecord, ModelRecord
from registry.state.service_metadata import declared_models, is_backend
from registry.state.service_records import ServiceRecord
from registry.state.watched import Watcher
from registry.urls import id_from_url, normalise_url, server_key, with_loopback

if TYPE_CHECKING:
    from actors.actor import Context

RUNNING = "running"
"""The status of a service that may be given requests."""

MAX_ID_CHARS = 512


class Claim(NamedTuple):
    """What the services that name a server say together.

    Attributes:
        models: Ids of all models that they declare, in order.
        runs: Whether any of them has status `running`.
    """

    models: tuple[str, ...]
    runs: bool


class ServiceBackends:
    """Keeps the backends that services make.

    Args:
        services: The table of services.
        backends: Where they are kept.
    """

    def __init__(self, services: Table[str, ServiceRecord], backends: Backends) -> None:
        self._services = services
        self._backends = backends
        self._naming: dict[str, dict[str, int]] = {}
        self._arrived = count()

    # -- what is derived -------------------------------------------------------------------------------------

    def service_changed(self, name: str, before: ServiceRecord | None, after: ServiceRecord | None) -> None:
        """A service came, went or was changed: keep in mind which server it names."""
        old, new = server_of(before), server_of(after)
        if old == new:
            return
        if old is not None:
            naming = self._naming[old]
            del naming[name]
            if not naming:
                del self._naming[old]
        if new is not None:
            self._naming.setdefault(new, {})[name] = next(self._arrived)

    def claim(self, server: str) -> Claim | None:
        """What is said of a server; None if no service names it."""
        naming = [record for record in map(self._services.get, self._naming.get(server, ())) if record is not None]
        if not naming:
            return None
        models = dict.fromkeys(chain.from_iterable(map(declared_models, naming)))
        return Claim(tuple(islice(models, MAX_MODELS)), any(record.status == RUNNING for record in naming))

    # -- what is made ----------------------------------------------------------------------------------------

    def settle(self, server: str, was: Claim | None, watcher: Watcher, context: Context) -> None:
        """Let the backend of a server follow what services say of it now.

        Args:
            server: Its key.
            was: What they said before.
            watcher: Told what comes and goes.
            context: The circumstances.
        """
        claim = self.claim(server)
        ids = self._backends.servers.get(server, {})
        made = [id for id in ids if self._is_made(id)]
        if claim is None:
            for id in made:
                self._remove(id, watcher)
        elif not ids:
            self._add(server, claim, watcher, context)
        elif was is not None:
            for id in made:
                self._follow(id, was, claim, context)

    def _is_made(self, id: str) -> bool:
        return self._backends.require(id).discovery_source is DiscoverySource.SERVICE

    def _remove(self, id: str, watcher: Watcher) -> None:
        self._backends.remove(id)
        watcher.forget_backend(id)

    def _add(self, server: str, claim: Claim, watcher: Watcher, context: Context) -> None:
        first = self._services.get(next(iter(self._naming[server])))
        if first is None:
            return
        url = with_loopback(normalise_url(first.url))
        id = self._free_id(url)
        if id is None:
            return
        status = BackendStatus.UNKNOWN if claim.runs else BackendStatus.DRAINING
        models = tuple(ModelRecord(model, name=model) for model in claim.models)
        record = BackendRecord(
            id, first.name[:MAX_ID_CHARS], url, status=status, models=models, discovery_source=DiscoverySource.SERVICE
        )
        self._backends.add(record, context.revision + 1, context.wall_s)
        watcher.backend_added(id, context)

    def _free_id(self, url: str) -> str | None:
        """An id for a new backend; None if it would be too long."""
        id = id_from_url(url)
        ids: Iterable[str] = chain((id,), (f"{id}-{number}" for number in count(2)))
        free = next(id for id in ids if id not in self._backends.records)
        return free if len(free) <= MAX_ID_CHARS else None

    def _follow(self, id: str, was: Claim, claim: Claim, context: Context) -> None:
        revision = context.revision + 1
        if claim.models != was.models:
            known = {model.id: model for model in self._backends.require(id).models}
            models = tuple(known.get(model) or ModelRecord(model) for model in claim.models)
            self._backends.update_models(id, models, revision)
        if claim.runs and not was.runs:
            self._backends.undrain(id, revision, context.wall_s)
        elif was.runs and not claim.runs:
            self._backends.drain(id, revision, context.wall_s)


def server_of(record: ServiceRecord | None) -> str | None:
    """The key of the server that a service names as a backend; None if it names none that can be used."""
    if record is None or not is_backend(record):
        return None
    try:
        return server_key(record.url)
    except InvalidField:
        return None
