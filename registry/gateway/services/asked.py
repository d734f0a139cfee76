"""What the endpoints of services need from the registry."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol, TypeVar

from actors.errors import ActorsError
from registry.metrics import Metrics
from registry.operations import Call
from registry.state.service_records import BeatView, ServiceRecord, ServiceView

T = TypeVar("T")


class ServicesCopy(Protocol):
    """This process's copy of the services."""

    @property
    def records(self) -> Mapping[str, ServiceRecord]:
        """The services by name, in the order of their first registration."""

    @property
    def beats(self) -> Mapping[str, BeatView]:
        """Their latest signs of life by name, as of the latest `sync`."""


class CopyWithServices(Protocol):
    """This process's copy of what the owner has."""

    @property
    def services(self) -> ServicesCopy:
        """The services."""


class KeepsServices(Protocol):
    """Whoever has a copy with services."""

    @property
    def copy(self) -> CopyWithServices:
        """This process's copy; `sync` brings it up to date."""


class ServicesRegistry(KeepsServices, Protocol):
    """The part of `registry.AsyncRegistry` that the endpoints of services use; what it does is described there."""

    async def sync(self) -> None:
        """Wait until the copy has all that the owner had when it was asked."""

    def perform_then(self, call: Call[T], then: Callable[[T | ActorsError], None]) -> None:
        """Do an operation and tell its result or error."""

    def batch_then(self, calls: Sequence[Call[Any]], then: Callable[[list[Any] | ActorsError], None]) -> None:
        """Do several operations and tell their results; in place of one that was refused stands its error."""

    async def perform(self, call: Call[T]) -> T:
        """Do an operation."""

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
        """Change what is given; it is a heartbeat in any case."""

    async def remove_service(self, name: str) -> None:
        """Remove a service."""

    async def get_service(self, name: str) -> ServiceView:
        """One service."""

    async def check_service(self, name: str) -> ServiceView:
        """Let the health checker probe a service now."""

    async def metrics(self) -> Metrics:
        """A snapshot of all counters."""

    def count_http_error(self, code: int) -> None:
        """Count an error that the gateway itself answered with; never waits."""
