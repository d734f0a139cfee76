"""Services: whoever has a name, an address and a heartbeat."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, Any

import msgspec

from actors.tables import Table
from registry.errors import InvalidField, ServiceNotFound
from registry.kinds import ServiceHealth
from registry.state.backends import Backends
from registry.state.lifetime import Lifetime
from registry.state.oldest import Oldest
from registry.state.rules import HealthRules
from registry.state.service_backends import RUNNING, ServiceBackends, server_of
from registry.state.service_metadata import checked, is_backend
from registry.state.service_records import BeatRecord, ServiceRecord, ServiceView
from registry.state.watched import NoWatcher, Watcher
from registry.urls import normalise_url, with_loopback

if TYPE_CHECKING:
    from actors.actor import Context

MOST_AT_ONCE = 500
"""So many transitions of one kind are noted in one tick; the others have the next."""

Event = Callable[["Context"], None]


class Services:
    """The tables of services, and what is derived from them.

    Args:
        rules: The times by which their health is judged.
        lifetime: The clock on which heartbeats age.
        backends: Those that services name are kept there.

    Attributes:
        records: The services.
        beats: The latest sign of life of each.
        watcher: Told who comes and goes.
    """

    def __init__(self, rules: HealthRules, lifetime: Lifetime, backends: Backends) -> None:
        self.records = Table("services", str, ServiceRecord, durable=True, on_change=self._record_changed)
        self.beats = Table("beats", str, BeatRecord, durable=False, saved=True, on_change=self._beat_changed)
        self.tables = (self.records, self.beats, *lifetime.tables)
        self.watcher: Watcher = NoWatcher()
        self._rules = rules
        self._lifetime = lifetime
        self._made = ServiceBackends(self.records, backends)
        self._healthy = Oldest()
        self._all = Oldest()
        self._cleanup_s: float | None = None

    # -- what is derived -------------------------------------------------------------------------------------

    def _record_changed(self, name: str, before: ServiceRecord | None, after: ServiceRecord | None) -> None:
        self._made.service_changed(name, before, after)
        beat = self.beats.get(name)
        lived_s = 0.0 if beat is None else beat.lived_s
        if after is None:
            self._all.discard(name)
        elif before is None:
            self._all.put(name, lived_s)
        if after is None or not after.is_healthy:
            self._healthy.discard(name)
        elif before is None or not before.is_healthy:
            self._healthy.put(name, lived_s)

    def _beat_changed(self, name: str, _: BeatRecord | None, after: BeatRecord | None) -> None:
        lived_s = 0.0 if after is None else after.lived_s
        for names in (self._all, self._healthy):
            if name in names.instants:
                names.put(name, lived_s)

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
        return ServiceView.of(record, beat.wall_s, is_healthy=is_healthy)

    def fresh_until(self, beat: BeatRecord) -> float:
        """The instant on `CLOCK_MONOTONIC` from which on a sign of life is too old for a healthy service."""
        return self._lifetime.on_monotonic(beat.lived_s + self._rules.heartbeat_timeout_s)

    def probe_url(self, name: str) -> str | None:
        """What to get from a service to know how it is; None if its address cannot be used. Raises `ServiceNotFound`.

        A babysitter answers for a service that is a backend, on the next port.
        """
        record = self.require(name)
        url = record.url
        if is_backend(record):
            host = f"[{record.host}]" if ":" in record.host and not record.host.startswith("[") else record.host
            url = f"http://{host}:{record.port + 1}"
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
        checked(record.metadata)
        name = record.name
        if timestamp is None:
            timestamp = datetime.fromtimestamp(context.wall_s, UTC).isoformat()
        self._beat(name, context)
        self._put(
            msgspec.structs.replace(record, timestamp=timestamp, is_healthy=record.status == RUNNING),
            context,
            anew=True,
        )
        self.watcher.service_registered(name, context)
        return self.view(name, context)

    def update(self, name: str, context: Context, **values: Any) -> ServiceView:
        """Change what is given, which is a sign of life; raises `ServiceNotFound` or `InvalidField`."""
        record = self.require(name)
        if "metadata" in values:
            checked(values["metadata"])
        changed = msgspec.structs.replace(record, **values)
        self._beat(name, context)
        self._put(msgspec.structs.replace(changed, is_healthy=changed.status == RUNNING), context)
        return self.view(name, context)

    def heartbeat(self, name: str, status: str | None, context: Context) -> None:
        """A service gives a sign of life, and perhaps its status; raises `ServiceNotFound`."""
        record = self.require(name)
        self._beat(name, context)
        if status is None:
            status = record.status
        is_healthy = status == RUNNING
        if status != record.status or is_healthy is not record.is_healthy:
            self._put(msgspec.structs.replace(record, status=status, is_healthy=is_healthy), context)

    def remove(self, name: str, context: Context) -> None:
        """Forget a service, and the backend that only it has named; raises `ServiceNotFound`."""
        record = self.require(name)
        server = server_of(record)
        was = None if server is None else self._made.claim(server)
        self.records.delete(name)
        if name in self.beats:
            self.beats.delete(name)
        if server is not None:
            self._made.settle(server, was, self.watcher, context)
        self.watcher.service_removed(name, context)

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

    def _beat(self, name: str, context: Context) -> None:
        self.beats.put(name, BeatRecord(context.wall_s, self._now_s(context)))

    def _put(self, record: ServiceRecord, context: Context, *, anew: bool = False) -> None:
        """Note a durable change, unless it changes nothing; `anew` looks after the backend even then."""
        before = self.records.get(record.name)
        if before is not None:
            record = msgspec.structs.replace(record, revision=before.revision)
        servers = dict.fromkeys(server for server in map(server_of, (before, record)) if server is not None)
        claims = {server: self._made.claim(server) for server in servers}
        if record != before:
            self.records.put(record.name, msgspec.structs.replace(record, revision=context.revision + 1))
        elif not anew:
            return
        for server, was in claims.items():
            self._made.settle(server, was, self.watcher, context)

    # -- time ------------------------------------------------------------------------------------------------

    def _now_s(self, context: Context) -> float:
        if not self._lifetime.runs:
            # Heartbeats outlive an owner at once, the time only with the next tick.
            self._lifetime.begin(context, max((beat.lived_s for beat in self.beats.values()), default=0.0))
        return self._lifetime.now_s(context)

    def tick(self, context: Context) -> None:
        """Let time pass; what becomes of it that is durable is in `due`."""
        now_s = self._now_s(context)
        stopped_s = self._lifetime.tick(context, note=len(self.records) > 0)
        if stopped_s:
            for name, beat in self.beats.items():
                self.beats.put(name, BeatRecord(beat.wall_s, min(beat.lived_s + stopped_s, now_s)))

    def due(self, context: Context) -> list[Event]:
        """What time has done to services; each is a change of its own."""
        now_s = self._now_s(context)
        silent = self._healthy.until(now_s - self._rules.heartbeat_timeout_s, MOST_AT_ONCE)
        return [partial(self._fall_silent, name) for name in silent] + self._cleanup(now_s)

    def _cleanup(self, now_s: float) -> list[Event]:
        if self._cleanup_s is None:
            self._cleanup_s = now_s + self._rules.cleanup_interval_s
        if now_s < self._cleanup_s:
            return []
        stale = self._all.until(now_s - self._rules.stale_after_s, MOST_AT_ONCE)
        if len(stale) < MOST_AT_ONCE:
            self._cleanup_s = now_s + self._rules.cleanup_interval_s
        return [partial(self._expire, name) for name in stale]

    def _fall_silent(self, name: str, context: Context) -> None:
        record = self.records.get(name)
        if record is not None and record.is_healthy and not self.view(name, context).is_healthy:
            self._put(msgspec.structs.replace(record, is_healthy=False), context)

    def _expire(self, name: str, context: Context) -> None:
        beat = self.beats.get(name)
        if name in self.records and (beat is None or beat.lived_s < self._now_s(context) - self._rules.stale_after_s):
            self.remove(name, context)
