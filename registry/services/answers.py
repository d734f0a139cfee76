"""What a service registry answers, read leniently: the original writes other spaces, and may leave fields out."""

from __future__ import annotations

from typing import Any

import msgspec

from registry.kinds import ServiceHealth
from registry.state.service_records import ServiceView


class ServiceCheck(msgspec.Struct, frozen=True):
    """What a probe has found.

    Attributes:
        service: The service's name.
        health_status: What the probe has found.
        is_healthy: Whether its heartbeat is young enough and its status is `running`; a probe does not alter that.
        last_heartbeat: When it last gave a sign of life, in seconds since 1970.
        timestamp: When this was answered.
    """

    service: str
    health_status: ServiceHealth
    is_healthy: bool
    last_heartbeat: float
    timestamp: str = ""


class RegistryHealth(msgspec.Struct, frozen=True):
    """What a service registry says of itself.

    Attributes:
        status: `healthy`.
        registered_services: How many there are.
        healthy_services: How many of them are healthy.
        registry: `running`.
        timestamp: When this was answered.
    """

    status: str
    registered_services: int
    healthy_services: int
    registry: str = ""
    timestamp: str = ""


class RegistryStats(msgspec.Struct, frozen=True):
    """How many services of which kind there are.

    Attributes:
        total_services: All of them.
        healthy_services: The healthy ones.
        unhealthy_services: The others.
        status_distribution: How many have each status.
        host_distribution: How many there are on each host.
        uptime: Seconds since the registry was started.
        timestamp: When this was answered.
    """

    total_services: int
    healthy_services: int
    unhealthy_services: int
    status_distribution: dict[str, int] = {}
    host_distribution: dict[str, int] = {}
    uptime: float = 0.0
    timestamp: str = ""


class _Service(msgspec.Struct):
    name: str
    host: str
    port: int
    url: str
    status: str
    hostname: str = ""
    timestamp: str | None = None
    last_heartbeat: float = 0.0
    health_status: str = ServiceHealth.UNKNOWN
    metadata: dict[str, Any] | None = None
    is_healthy: bool = False

    def view(self) -> ServiceView:
        known = self.health_status in set(ServiceHealth)
        return ServiceView(
            name=self.name,
            host=self.host,
            port=self.port,
            hostname=self.hostname,
            url=self.url,
            status=self.status,
            timestamp=self.timestamp or "",
            last_heartbeat=self.last_heartbeat,
            health_status=ServiceHealth(self.health_status) if known else ServiceHealth.UNKNOWN,
            metadata=self.metadata or {},
            is_healthy=self.is_healthy,
        )


class _Changed(msgspec.Struct):
    service: _Service


class _Listed(msgspec.Struct):
    services: list[_Service]


class _Said(msgspec.Struct):
    """An error: as the service registry has it, or as RFC 9457."""

    error: str = ""
    detail: str = ""
    title: str = ""


# Not strict: the original takes a port that is a string, and hands it out as one.
_one = msgspec.json.Decoder(_Service, strict=False).decode
_changed = msgspec.json.Decoder(_Changed, strict=False).decode
_listed = msgspec.json.Decoder(_Listed, strict=False).decode

read_check = msgspec.json.Decoder(ServiceCheck, strict=False).decode
read_health = msgspec.json.Decoder(RegistryHealth, strict=False).decode
read_stats = msgspec.json.Decoder(RegistryStats, strict=False).decode


def read_service(body: bytes) -> ServiceView:
    """The service itself.

    >>> original = b'{"name": "a", "host": "h", "port": "80", "url": "http://h", "status": "running", "weight": 1}'
    >>> read_service(original).port
    80
    """
    return _one(body).view()


def read_changed(body: bytes) -> ServiceView:
    """The service in the answer to a change."""
    return _changed(body).service.view()


def read_services(body: bytes) -> list[ServiceView]:
    """All services of a list."""
    return [service.view() for service in _listed(body).services]


def read_nothing(body: bytes) -> None:
    """For what is answered with a word only."""


def said(body: bytes) -> str:
    """What an answer says of an error; empty if that is no text to be shown.

    >>> said(b'{"error": "Invalid JSON"}'), said(b"<html>")
    ('Invalid JSON', '')
    """
    try:
        problem = msgspec.json.decode(body, type=_Said)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return ""
    return problem.error or problem.detail or problem.title
