"""A stand-in for the services of a registry, in memory; the real ones have tests of their own."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from typing import Any

import msgspec

from registry.errors import ServiceNotFound
from registry.kinds import ServiceHealth
from registry.metrics import Metrics
from registry.state.service_records import BeatView, ServiceRecord, ServiceView

HEARTBEAT_TIMEOUT_S = 120.0


class FakeCopy:
    """A copy of the services, as old as its latest `sync`."""

    def __init__(self) -> None:
        self.records: dict[str, ServiceRecord] = {}
        self.beats: dict[str, BeatView] = {}

    @property
    def services(self) -> FakeCopy:
        return self


class FakeServices:
    """The part of a registry that knows services.

    Attributes:
        known: The services by name.
        heard: Their latest signs of life.
        copy: What this process sees of them.
        answering: Those whose probes succeed.
        calls: What was done, in order, with the arguments.
        probe_allowed: Cleared while probes hang.
        services_failure: What every operation fails with, if anything.
    """

    def __init__(self) -> None:
        self.known: dict[str, ServiceRecord] = {}
        self.heard: dict[str, BeatView] = {}
        self.copy = FakeCopy()
        self.answering: set[str] = set()
        self.calls: list[tuple[str, dict[str, Any]]] = []
        self.services_failure: Exception | None = None
        self.probe_allowed = asyncio.Event()
        self.probe_allowed.set()

    async def sync(self) -> None:
        self._called("sync")
        self.copy.records = dict(self.known)
        self.copy.beats = dict(self.heard)

    async def register_service(
        self,
        name: str,
        *,
        host: str,
        port: int,
        hostname: str,
        url: str,
        status: str = "running",
        metadata: Mapping[str, Any] | None = None,
        timestamp: str | None = None,
    ) -> ServiceView:
        self._called("register", name=name)
        timestamp = timestamp or "2026-01-01T00:00:00+00:00"
        self.known[name] = ServiceRecord(name, host, port, hostname, url, status, timestamp, dict(metadata or {}))
        self.beat(name)
        return await self.get_service(name)

    async def update_service(
        self,
        name: str,
        *,
        host: str | None = None,
        port: int | None = None,
        hostname: str | None = None,
        url: str | None = None,
        status: str | None = None,
        metadata: Mapping[str, Any] | None = None,
    ) -> ServiceView:
        given = {
            "host": host, "port": port, "hostname": hostname, "url": url, "status": status, "metadata": metadata,
        }  # fmt: skip
        changes = {field: value for field, value in given.items() if value is not None}
        self._called("update", name=name, **changes)
        self.known[name] = msgspec.structs.replace(self._require(name), **changes)
        self.beat(name)
        return await self.get_service(name)

    async def heartbeat(self, name: str, status: str | None = None) -> None:
        self._called("heartbeat", name=name, status=status)
        record = self._require(name)
        if status is not None:
            self.known[name] = msgspec.structs.replace(record, status=status)
        self.beat(name)

    async def remove_service(self, name: str) -> None:
        self._called("remove", name=name)
        self._require(name)
        del self.known[name]
        del self.heard[name]

    async def get_service(self, name: str) -> ServiceView:
        self._called("get", name=name)
        record, beat = self._require(name), self.heard[name]
        is_healthy = record.status == "running" and time.monotonic() < beat.fresh_until_s
        return ServiceView.of(record, beat.wall_s, is_healthy=is_healthy)

    async def check_service(self, name: str) -> ServiceView:
        self._called("check", name=name)
        await self.probe_allowed.wait()
        healthy = name in self.answering
        health = ServiceHealth.HEALTHY if healthy else ServiceHealth.UNHEALTHY
        self.known[name] = msgspec.structs.replace(self._require(name), health_status=health)
        if healthy:
            self.beat(name)
        return await self.get_service(name)

    async def metrics(self) -> Metrics:
        return Metrics(1, 0, 0, [], [], [], [], {}, uptime_s=1.5)

    def beat(self, name: str, age_s: float = 0.0) -> None:
        """Note a sign of life so long ago."""
        self.heard[name] = BeatView(time.time() - age_s, time.monotonic() - age_s + HEARTBEAT_TIMEOUT_S)

    def changes(self) -> list[tuple[str, dict[str, Any]]]:
        """The calls that change something."""
        return [call for call in self.calls if call[0] not in {"sync", "get"}]

    def _called(self, what: str, **arguments: Any) -> None:
        if self.services_failure is not None:
            raise self.services_failure
        self.calls.append((what, arguments))

    def _require(self, name: str) -> ServiceRecord:
        if name not in self.known:
            raise ServiceNotFound(name)
        return self.known[name]
