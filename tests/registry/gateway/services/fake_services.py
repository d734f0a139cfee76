"""A stand-in for the services of a registry, in memory; the real ones have tests of their own."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine, Mapping, Sequence
from typing import Any, TypeVar, cast

import msgspec

from actors.errors import ActorsError
from registry import commands as c
from registry.errors import ServiceNotFound
from registry.kinds import ServiceHealth
from registry.metrics import Metrics
from registry.operations import Call
from registry.state.service_records import BeatView, ServiceRecord, ServiceView

HEARTBEAT_TIMEOUT_S = 120.0

T = TypeVar("T")


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
        messages: How many heartbeats, registrations or groups of them have come whose senders are told the outcome.
        may_answer: Cleared while these are not answered.
        services_failure: What every operation fails with, if anything.
    """

    def __init__(self) -> None:
        self.known: dict[str, ServiceRecord] = {}
        self.heard: dict[str, BeatView] = {}
        self.copy = FakeCopy()
        self.answering: set[str] = set()
        self.calls: list[tuple[str, dict[str, Any]]] = []
        self.services_failure: Exception | None = None
        self.messages = 0
        self.may_answer = asyncio.Event()
        self.may_answer.set()
        self._tasks: list[asyncio.Task[None]] = []
        self.probe_allowed = asyncio.Event()
        self.probe_allowed.set()

    async def sync(self) -> None:
        self._called("sync")
        self.copy.records = dict(self.known)
        self.copy.beats = dict(self.heard)

    async def perform(self, call: Call[T]) -> T:
        command: Any = msgspec.msgpack.decode(call.command, type=c.RegisterService | c.Heartbeat | c.Heartbeats)
        match command:
            case c.RegisterService():
                return cast("T", self._register(command))
            case c.Heartbeats():
                return cast("T", self._heartbeats(command))
            case _:
                return cast("T", self._heartbeat(command))

    def perform_then(self, call: Call[T], then: Callable[[T | ActorsError], None]) -> None:
        self._tell(self.perform(call), then)

    def batch_then(self, calls: Sequence[Call[Any]], then: Callable[[list[Any] | ActorsError], None]) -> None:
        async def batch() -> list[Any]:
            return await asyncio.gather(*map(self.perform, calls), return_exceptions=True)

        self._tell(batch(), then)

    def _tell(self, asked: Coroutine[None, None, T], then: Callable[[T | ActorsError], None]) -> None:
        async def tell() -> None:
            self.messages += 1
            await self.may_answer.wait()
            outcome: T | ActorsError
            try:
                outcome = await asked
            except ActorsError as error:
                outcome = error
            then(outcome)

        self._tasks.append(asyncio.create_task(tell()))

    def _register(self, command: c.RegisterService) -> ServiceView:
        name = command.name
        self._called("register", name=name)
        fields = msgspec.structs.asdict(command)
        self.known[name] = ServiceRecord(
            **fields | {"timestamp": command.timestamp or "2026-01-01T00:00:00+00:00", "metadata": command.metadata}
        )
        self.beat(name)
        return self._view(name)

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

    def _heartbeat(self, command: c.Heartbeat) -> None:
        name, status = command.name, command.status
        self._called("heartbeat", name=name, status=status)
        record = self._require(name)
        if status is not None:
            self.known[name] = msgspec.structs.replace(record, status=status)
        self.beat(name)

    def _heartbeats(self, command: c.Heartbeats) -> list[str]:
        for name in command.names:
            if name in self.known:
                self._heartbeat(c.Heartbeat(name))
        return [name for name in command.names if name not in self.known]

    async def remove_service(self, name: str) -> None:
        self._called("remove", name=name)
        self._require(name)
        del self.known[name]
        del self.heard[name]

    async def get_service(self, name: str) -> ServiceView:
        self._called("get", name=name)
        return self._view(name)

    def _view(self, name: str) -> ServiceView:
        record, beat = self._require(name), self.heard[name]
        is_healthy = record.status == "running" and time.monotonic() < beat.fresh_until_s
        return ServiceView.of(record, beat, is_healthy=is_healthy)

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
