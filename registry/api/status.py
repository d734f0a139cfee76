"""`/status`: the whole registry in a few figures."""

from __future__ import annotations

from collections import Counter

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict

from registry.api.asked import AskedRegistry
from registry.api.documented import problems
from registry.kinds import BackendStatus
from registry.version import installed_version


class Services(BaseModel):
    """Services at one moment.

    Attributes:
        registered: All of them.
        healthy: Those that run and whose heartbeats come.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    registered: int
    healthy: int


class Status(BaseModel):
    """The registry at one moment.

    Attributes:
        version: Of actor-registry.
        epoch: Number of the owner's life.
        revision: Number of the latest durable change.
        backends: How many there are in each status.
        services: How many services there are.
        leases: Requests in flight.
        waiting: Requests that wait for a backend that is not busy.
        sessions: Processes that take part: gateways, health checker, discovery, workers, attached programs.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    version: str
    epoch: int
    revision: int
    backends: dict[BackendStatus, int]
    services: Services
    leases: int
    waiting: int
    sessions: int


class StatusPage:
    """Answers `GET /status`.

    Args:
        registry: What is asked.
    """

    def __init__(self, registry: AskedRegistry) -> None:
        self._registry = registry
        self._version = installed_version()

    def add_to(self, router: APIRouter) -> None:
        """Add the path."""
        router.add_api_route("/status", self.get, methods=["GET"], summary="Show the status", responses=problems())

    async def get(self) -> Status:
        """The registry in a few figures."""
        metrics = await self._registry.metrics()
        owner = await self._registry.owner_statistics()
        by_status = Counter(backend.status for backend in metrics.backends)
        return Status(
            version=self._version,
            epoch=metrics.epoch,
            revision=metrics.revision,
            backends={status: by_status[status] for status in BackendStatus},
            services=Services(registered=metrics.services.registered, healthy=metrics.services.healthy),
            leases=metrics.leases,
            waiting=metrics.waiting,
            sessions=owner.sessions,
        )
