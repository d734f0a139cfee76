"""The records of services: compact, immutable structs."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
from msgspec import Meta

from registry.kinds import ServiceHealth
from registry.state.records import Revision

MAX_SERVICE_BYTES = 1024 * 1024
"""Longest metadata of a service as JSON, and longest request body about one."""

ServiceName = Annotated[str, Meta(min_length=1, max_length=1024)]
ServiceText = Annotated[str, Meta(max_length=4096)]
ServicePort = Annotated[int, Meta(ge=1, le=65_535)]


class ServiceRecord(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The durable part of a service. A change of it is one in the history; a heartbeat alone is none.

    Attributes:
        name: Its name, and its key.
        host: Where it runs, as it says.
        port: Its TCP port.
        hostname: Where it runs, as it says; a service often sends the same as `host`.
        url: Its base address, as it says.
        status: Its own word; only `running` counts as healthy.
        timestamp: When it was registered; for the latest time unless its `BeatRecord` has a later one.
        metadata: Whatever else it says.
        health_status: What probes have found.
        is_healthy: Whether its status is `running` and its latest heartbeat young enough, as last looked at.
        revision: Number of its latest durable change.
    """

    name: ServiceName
    host: ServiceText
    port: ServicePort
    hostname: ServiceText
    url: ServiceText
    status: ServiceText
    timestamp: ServiceText
    metadata: dict[str, Any] = {}
    health_status: ServiceHealth = ServiceHealth.UNKNOWN
    is_healthy: bool = False
    revision: Revision = 0


class BeatRecord(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """The latest sign of life of a service.

    Attributes:
        wall_s: When it was, in seconds since 1970.
        lived_s: The same on the registry's own clock, which stands still while the registry is down; see
            `registry.state.lifetime`.
        timestamp: When it was registered, if that was with the same words as before; else empty, and the record tells.
    """

    wall_s: float
    lived_s: float
    timestamp: ServiceText = ""


class BeatView(msgspec.Struct, frozen=True, array_like=True):
    """The latest sign of life of a service, as processes with a copy have it.

    Attributes:
        wall_s: When it was, in seconds since 1970.
        fresh_until_s: Instant on `CLOCK_MONOTONIC` from which on it is too old for a healthy service.
        timestamp: As of a `BeatRecord`.
    """

    wall_s: float
    fresh_until_s: float
    timestamp: str = ""


class ServiceView(msgspec.Struct, frozen=True):
    """A service as it is handed out; the fields and their order are those of the service registry's JSON.

    Attributes:
        last_heartbeat: When it last gave a sign of life, in seconds since 1970.
        is_healthy: Whether its status is `running` and that was less than `HealthRules.heartbeat_timeout_s` ago.
    """

    name: str
    host: str
    port: int
    hostname: str
    url: str
    status: str
    timestamp: str
    last_heartbeat: float
    health_status: ServiceHealth
    metadata: dict[str, Any]
    is_healthy: bool

    @classmethod
    def of(cls, record: ServiceRecord, beat: BeatRecord | BeatView, *, is_healthy: bool) -> ServiceView:
        """The view of a service at one moment."""
        return cls(
            record.name,
            record.host,
            record.port,
            record.hostname,
            record.url,
            record.status,
            beat.timestamp or record.timestamp,
            beat.wall_s,
            record.health_status,
            record.metadata,
            is_healthy,
        )
