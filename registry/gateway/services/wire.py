"""Answers as JSON: compact, UTF-8, the fields in the order that clients know."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime
from http import HTTPStatus

import msgspec

from registry.gateway.http1.response import Response
from registry.state.service_records import ServiceRecord, ServiceView

JSON = ((b"content-type", b"application/json"),)
PART_BYTES = 256 * 1024
"""A longer list goes out in parts of about this size, so that what a slow reader holds up is not copied for it."""

encode = msgspec.json.Encoder().encode


def send(response: Response, body: bytes, status: HTTPStatus = HTTPStatus.OK) -> None:
    """Answer with JSON."""
    response.send(status, JSON, body)


async def send_list(response: Response, services: Sequence[bytes]) -> None:
    """Answer with a list, as fast as the client reads it.

    Args:
        response: Where it goes.
        services: The JSON of each service.
    """
    first = b'{"services":['
    last = b'],"total":%d,"timestamp":"%b"}' % (len(services), now().encode())
    length = len(first) + sum(map(len, services)) + max(0, len(services) - 1) + len(last)
    if length <= PART_BYTES:
        send(response, b"%b%b%b" % (first, b",".join(services), last))
        return
    response.start(HTTPStatus.OK, JSON, length=length)
    part, size, comma = [first], 0, b""
    for service in services:
        if size > PART_BYTES:
            response.write(b"".join(part))
            await response.writable()
            part, size = [], 0
        part += (comma, service)
        size += len(service)
        comma = b","
    response.write(b"".join((*part, last)))
    response.end()


def now() -> str:
    """This moment, as it stands in answers."""
    return datetime.now(UTC).isoformat()


def done(name: str, what: str) -> bytes:
    """That something was done with a service."""
    return encode({"message": f"Service '{name}' {what} successfully"})


def done_with(name: str, what: str, service: ServiceView) -> bytes:
    """The same, with the service as it is now."""
    return encode({"message": f"Service '{name}' {what} successfully", "service": service})


def heard() -> bytes:
    """That a heartbeat was received."""
    return b'{"message":"Heartbeat received","timestamp":"%b"}' % now().encode()


def checked(service: ServiceView) -> bytes:
    """What a probe has found of a service."""
    return encode(
        {
            "service": service.name,
            "health_status": service.health_status,
            "is_healthy": service.is_healthy,
            "last_heartbeat": service.last_heartbeat,
            "timestamp": now(),
        }
    )


def health(states: Sequence[tuple[ServiceRecord, bool]]) -> bytes:
    """The state of the registry, and how many services it has; see `Listing.states`."""
    return encode(
        {
            "status": "healthy",
            "registry": "running",
            "registered_services": len(states),
            "healthy_services": sum(is_healthy for _, is_healthy in states),
            "timestamp": now(),
        }
    )


def stats(states: Sequence[tuple[ServiceRecord, bool]], uptime_s: float) -> bytes:
    """Counts of the services, and how long the registry has been running."""
    healthy = sum(is_healthy for _, is_healthy in states)
    return encode(
        {
            "total_services": len(states),
            "healthy_services": healthy,
            "unhealthy_services": len(states) - healthy,
            "status_distribution": Counter(record.status for record, _ in states),
            "host_distribution": Counter(record.host for record, _ in states),
            "uptime": uptime_s,
            "timestamp": now(),
        }
    )
