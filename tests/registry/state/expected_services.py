"""What is expected of services: a model of them, in plain dictionaries, that is too simple to be wrong."""

from __future__ import annotations

from typing import Any

import msgspec

from registry.kinds import BackendStatus
from registry.state.rules import HealthRules

RULES = HealthRules(heartbeat_timeout_s=4.0, stale_after_s=10.0, cleanup_interval_s=3.0)
"""Short times, so that much happens in few ticks."""

SERVERS = {
    "http://gpu:8000": "one",
    "HTTP://GPU:8000/v1/": "one",
    "http://localhost:9000": "two",
    "http://127.0.0.1:9000/v1": "two",
    "http://0.0.0.0:9000/": "two",
    "ftp://gpu:8000": None,
    "http://gpu:8000?x=1": None,
    "": None,
}
"""URLs, and which server each is of."""


class Service(msgspec.Struct):
    """A service as the model knows it.

    Attributes:
        said: What its sender said, by field.
        beat_s: Its latest sign of life on the registry's own clock.
        beat_wall_s: The same in seconds since 1970.
        timestamp: When it was registered.
        health_status: What probes have found.
        noted: Whether it is noted as healthy.
    """

    said: dict[str, Any]
    beat_s: float
    beat_wall_s: float
    timestamp: str
    health_status: str = "unknown"
    noted: bool = False

    @property
    def server(self) -> str | None:
        return SERVERS[self.said["url"]] if self.said["metadata"].get("type") == "openai-api" else None

    @property
    def models(self) -> set[str]:
        models = self.said["metadata"].get("models")
        return {id for id in models if isinstance(id, str) and id} if isinstance(models, list) else set()


class ExpectedServices:
    """The model.

    Attributes:
        revision: Number of the latest durable change.
        services: By name, in order.
        by_hand: Servers of the backends that were added by hand, by id.
        lived_s: The time on the registry's own clock.
        cleanup_s: When it will look for those that are to be removed.
    """

    def __init__(self) -> None:
        self.revision = 0
        self.services: dict[str, Service] = {}
        self.by_hand: dict[str, str] = {}
        self.lived_s = 0.0
        self.cleanup_s = RULES.cleanup_interval_s

    def is_healthy(self, service: Service) -> bool:
        fresh = self.lived_s - service.beat_s < RULES.heartbeat_timeout_s
        return service.said["status"] == "running" and fresh

    def heard_of(self, service: Service, wall_s: float) -> None:
        """A service gives a sign of life."""
        service.beat_s, service.beat_wall_s = self.lived_s, wall_s
        service.noted = service.said["status"] == "running"

    def ticked(self) -> None:
        """The registry looks who has been silent for too long; each is a change."""
        for service in self.services.values():
            if service.noted and not self.is_healthy(service):
                service.noted = False
                self.revision += 1
        if self.lived_s >= self.cleanup_s:
            stale = [
                name for name, service in self.services.items() if self.lived_s - service.beat_s > RULES.stale_after_s
            ]
            for name in stale:
                del self.services[name]
                self.revision += 1
            if not stale:
                self.cleanup_s = self.lived_s + RULES.cleanup_interval_s

    def made(self) -> dict[str, tuple[set[str], BackendStatus]]:
        """The servers of which services make a backend, its models, and its status without a probe."""
        found: dict[str, tuple[set[str], bool]] = {}
        for service in self.services.values():
            if service.server is not None and service.server not in self.by_hand.values():
                models, runs = found.get(service.server, (set(), False))
                found[service.server] = models | service.models, runs or service.said["status"] == "running"
        return {
            server: (models, BackendStatus.UNKNOWN if runs else BackendStatus.DRAINING)
            for server, (models, runs) in found.items()
        }
