"""Services: whoever has a name, an address and a heartbeat."""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol

import msgspec

from actors.tables import Table
from registry.errors import InvalidField, ServiceNotFound
from registry.kinds import ServiceHealth
from registry.state.backends import Backends
from registry.state.lifetime import Lifetime
from registry.state.rules import HealthRules
from registry.state.servers import RUNNING, Servers, says_the_same, server_of
from registry.state.service_backends import ServiceBackends
from registry.state.service_metadata import checked, is_backend
from registry.state.service_records import BeatRecord, ServiceRecord, ServiceView
from registry.state.silence import Silence
from registry.state.traffic import Traffic
from registry.urls import http_url, normalise_url, with_loopback

if TYPE_CHECKING:
    from actors.actor import Context

logger = logging.getLogger(__name__)

Event = Callable[["Context"], None]


class Watcher(Protocol):
    """Who decides what is probed and when; `registry.state.health.Health` does."""

    def service_registered(self, name: str, context: Context) -> None:
        """A service was registered, for the first time or in other words than before."""

    def service_repeated(self, name: str, context: Context) -> None:
        """A service was registered again in the same words."""

    def service_removed(self, name: str, context: Context) -> None:
        """A service was removed, by somebody or because it was silent for too long."""


class Services:
    """The tables of services, and what is derived from them.

    Args:
        rules: The times by which their health is judged.
        lifetime: The clock on which heartbeats age.
        backends: Those that services name are kept there.
        traffic: What is counted of these.
        watcher: Told who comes and goes.

    Attributes:
        records: The services.
        beats: The latest sign of life of each.
        backends: Keeps the backends that they name.
    """

    def __init__(
        self, rules: HealthRules, lifetime: Lifetime, backends: Backends, traffic: Traffic, watcher: Watcher
    ) -> None:
        self.records = Table("services", str, ServiceRecord, durable=True, on_change=self._record_changed)
        self.beats = Table("beats", str, BeatRecord, durable=False, saved=True, on_change=self._beat_changed)
        self.tables = (self.records, self.beats, *lifetime.tables)
        self._servers = Servers()
        self.backends = ServiceBackends(self.records, self._servers, backends, traffic)
        self._silence = Silence(rules, self._heard_s)
        self._rules = rules
        self._lifetime = lifetime
        self._watcher = watcher
        self._repaired = False

    # -- what is derived -------------------------------------------------------------------------------------

    def _record_changed(self, name: str, before: ServiceRecord | None, after: ServiceRecord | None) -> None:
        self._servers.service_changed(name, before, after)
        self._silence.note(name, after)

    def _beat_changed(self, name: str, before: BeatRecord | None, after: BeatRecord | None) -> None:
        if before is None or after is None or after.lived_s < before.lived_s:  # it is not as usual
            self._silence.note(name, self.records.get(name))

    def _heard_s(self, name: str) -> float:
        beat = self.beats.get(name)
        return 0.0 if beat is None else beat.lived_s

    # -- reading ---------------------------------------------------------------------------------------------

    def require(self, name: str) -> ServiceRecord:
        """The record of a service; raises `ServiceNotFound`."""
        record = self.records.get(name)
        if record is None:
            raise ServiceNotFound(name)
        return record

    def view(self, name: str, context: Context) -> ServiceView:
        """A service as it is at this moment; raises `ServiceNotFound`."""
        record = self.require(name)
        beat = self.beats.get(name) or BeatRecord(context.wall_s, self._now_s(context))
        is_healthy = record.status == RUNNING and context.monotonic_s < self.fresh_until(beat)
        return ServiceView.of(record, beat, is_healthy=is_healthy)

    def fresh_until(self, beat: BeatRecord) -> float:
        """The instant on `CLOCK_MONOTONIC` from which on a sign of life is too old for a healthy service.

        It is the same all through an owner's life, from its first tick on.
        """
        return self._lifetime.on_monotonic(beat.lived_s + self._rules.heartbeat_timeout_s)

    def probe_url(self, name: str) -> str | None:
        """What to get from a service to know how it is; None if its address cannot be used. Raises `ServiceNotFound`.

        A babysitter answers for a service that is a backend, on the next port.
        """
        record = self.require(name)
        url = record.url
        if is_backend(record):
            url = http_url(record.host, record.port + 1)
        try:
            return f"{with_loopback(normalise_url(url))}/health"
        except InvalidField:
            return None

    # -- commands --------------------------------------------------------------------------------------------

    def register(self, record: ServiceRecord, timestamp: str | None, context: Context) -> ServiceView:
        """Add a service or replace it wholly.

        Args:
            record: What its sender says.
            timestamp: When it was registered; None for now.
            context: The circumstances.

        Raises:
            InvalidField: The metadata cannot be stored.
        """
        name = record.name
        if timestamp is None:
            timestamp = _timestamp(context.wall_s)
        before = self.records.get(name)
        # An empty timestamp can only be kept in the record: with a sign of life it means that the record tells.
        if before is not None and timestamp and self._says_nothing_new(before, record):
            self._beat(name, context, timestamp)
            self._watcher.service_repeated(name, context)
            server = server_of(before)
            if server is not None:
                self.backends.settle(server, self._servers.of(server), context)
            return self.view(name, context)
        checked(record.metadata)
        self._beat(name, context, "")
        record = msgspec.structs.replace(record, timestamp=timestamp, is_healthy=record.status == RUNNING)
        self._put(record, context, anew=True)
        self._watcher.service_registered(name, context)
        return self.view(name, context)

    def update(self, name: str, context: Context, **values: Any) -> ServiceView:
        """Change what is given, which is a sign of life; raises `ServiceNotFound` or `InvalidField`."""
        record = self.require(name)
        if "metadata" in values:
            checked(values["metadata"])
        record = msgspec.structs.replace(record, **values)
        self._beat(name, context)
        self._put(msgspec.structs.replace(record, is_healthy=record.status == RUNNING), context, anew=True)
        return self.view(name, context)

    def heartbeat(self, name: str, status: str | None, context: Context) -> None:
        """A service gives a sign of life, and perhaps its status; raises `ServiceNotFound`."""
        record = self.require(name)
        self._beat(name, context)
        if status is None:
            status = record.status
        is_healthy = status == RUNNING
        if is_healthy is not record.is_healthy or status != record.status:
            self._put(msgspec.structs.replace(record, status=status, is_healthy=is_healthy), context)

    def heartbeats(self, names: Iterable[str], context: Context) -> list[str]:
        """Several services give a sign of life that changes nothing else; returns those of which that is not so."""
        wall_s, now_s = context.wall_s, self._now_s(context)
        others = []
        for name in names:
            record, before = self.records.get(name), self.beats.get(name)
            if record is None or before is None or record.is_healthy is not (record.status == RUNNING):
                others.append(name)
            else:
                self.beats.put(name, BeatRecord(wall_s, now_s, before.timestamp))
        return others

    def remove(self, name: str, context: Context) -> None:
        """Forget a service, and the backend that only it has named; raises `ServiceNotFound`."""
        server = server_of(self.require(name))
        was = None if server is None else self._servers.of(server)
        self.records.delete(name)
        if name in self.beats:
            self.beats.delete(name)
        if server is not None:
            self.backends.settle(server, was, context)
        self._watcher.service_removed(name, context)

    def probed(self, name: str, healthy: bool, context: Context, *, alive: bool) -> None:
        """Note what a probe has found; raises `ServiceNotFound`.

        Args:
            name: The service.
            healthy: Whether it answered as it should.
            context: The circumstances.
            alive: Whether that is a sign of life, too.
        """
        record = self.require(name)
        is_healthy = record.is_healthy
        if alive:
            self._beat(name, context)
            is_healthy = record.status == RUNNING
        health = ServiceHealth.HEALTHY if healthy else ServiceHealth.UNHEALTHY
        self._put(msgspec.structs.replace(record, health_status=health, is_healthy=is_healthy), context)

    def _beat(self, name: str, context: Context, timestamp: str | None = None) -> None:
        """Note a sign of life; and when it was registered, unless that stays as it is."""
        if timestamp is None:
            before = self.beats.get(name)
            timestamp = "" if before is None else before.timestamp
        self.beats.put(name, BeatRecord(context.wall_s, self._now_s(context), timestamp))

    @staticmethod
    def _says_nothing_new(before: ServiceRecord, said: ServiceRecord) -> bool:
        """Whether a service that is registered again differs in nothing but the time."""
        healthy = said.status == RUNNING
        return _alike(
            before,
            msgspec.structs.replace(said, timestamp=before.timestamp, revision=before.revision, is_healthy=healthy),
        )

    def _put(self, record: ServiceRecord, context: Context, *, anew: bool = False) -> None:
        """Note a durable change, unless it changes nothing; `anew` looks after the backend in any case."""
        before = self.records.get(record.name)
        if before is not None:
            record = msgspec.structs.replace(record, revision=before.revision)
        named = () if says_the_same(before, record) and not anew else (server_of(before), server_of(record))
        said = {server: self._servers.of(server) for server in named if server is not None}
        if before is None or not _alike(before, record):
            self.records.put(record.name, msgspec.structs.replace(record, revision=context.revision + 1))
        for server, was in said.items():
            self.backends.settle(server, was, context)

    # -- time ------------------------------------------------------------------------------------------------

    def _now_s(self, context: Context) -> float:
        if not self._lifetime.runs:
            # Of what an owner did before it died, heartbeats are known better than the time.
            self._lifetime.begin(context, max((beat.lived_s for beat in self.beats.values()), default=0.0))
        return self._lifetime.now_s(context)

    def tick(self, context: Context) -> None:
        """Let time pass. What it does to services that is durable is `due`."""
        now_s = self._now_s(context)
        stopped_s = self._lifetime.tick(context, note=len(self.records) > 0)
        if stopped_s:
            for name, beat in self.beats.items():
                self.beats.put(name, BeatRecord(beat.wall_s, min(beat.lived_s + stopped_s, now_s), beat.timestamp))
        if not self._repaired:
            # What was counted as the machine went down may be missing, or be left over.
            for name in [name for name in self.records if name not in self.beats]:
                self._beat(name, context)
            for name in [name for name in self.beats if name not in self.records]:
                self.beats.delete(name)

    def due(self, context: Context) -> Iterator[Event]:
        """What time has done to services; each is a change of its own."""
        if not self._repaired:
            self._repaired = True
            for server in sorted(self.backends.astray()):
                yield partial(self.backends.settle, server, None)
        silent, stale = self._silence.due(self._now_s(context), context.monotonic_s)
        for name in silent:
            yield partial(self._fall_silent, name)
        for name in stale:
            yield partial(self._expire, name)

    def _fall_silent(self, name: str, context: Context) -> None:
        record = self.records.get(name)
        if record is not None and self._silence.is_too_long(name, self._now_s(context)):
            self._put(msgspec.structs.replace(record, is_healthy=False), context)

    def _expire(self, name: str, context: Context) -> None:
        if name in self.records and self._silence.is_stale(name, self._now_s(context)):
            self.remove(name, context)
            logger.info("service %s gave no sign of life for %g s and was removed", name, self._rules.stale_after_s)


@functools.lru_cache(maxsize=1)  # several are registered in one turn
def _timestamp(wall_s: float) -> str:
    return datetime.fromtimestamp(wall_s, UTC).isoformat()


def _alike(before: ServiceRecord, after: ServiceRecord) -> bool:
    """Whether two records are the same also as JSON, where `1`, `1.0` and `true` differ, and the order of keys."""
    if before != after:
        return False
    old, new = before.metadata, after.metadata
    return old is new or msgspec.json.encode(old) == msgspec.json.encode(new)
