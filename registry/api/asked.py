"""What the control plane needs from the registry."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from typing import Protocol

from msgspec import UNSET, UnsetType

from actors.statistics import OwnerStatistics
from registry.kinds import BackendStatus, BackendType
from registry.metrics import Metrics
from registry.models import Backend, BackendList, BackendView, Change, LeaseView


class AskedRegistry(Protocol):
    """The part of `registry.AsyncRegistry` that the control plane uses; what it does is described there."""

    async def list_backends(
        self,
        *,
        model: str | None = None,
        status: BackendStatus | None = None,
        backend_type: BackendType | None = None,
        label: Mapping[str, str] | None = None,
    ) -> BackendList:
        """Some backends, and the revision at that moment."""

    async def get_backend(self, id: str, *, fresh: bool = False) -> BackendView | None:
        """One backend."""

    async def put_backend(
        self, backend: Backend, *, expected_revision: int | None = None, only_new: bool = False
    ) -> BackendView:
        """Add a backend, or replace its configuration."""

    async def update_backend(
        self,
        id: str,
        *,
        name: str | None = None,
        labels: Mapping[str, str] | None = None,
        priority: int | None = None,
        weight: int | None = None,
        max_concurrency: int | UnsetType | None = UNSET,
        metadata: Mapping[str, str] | None = None,
        expected_revision: int | None = None,
    ) -> BackendView:
        """Change what is given."""

    async def remove_backend(self, id: str, *, expected_revision: int | None = None) -> BackendView:
        """Remove a backend."""

    async def drain_backend(self, id: str) -> BackendView:
        """Give a backend nothing new."""

    async def undrain_backend(self, id: str) -> BackendView:
        """End the draining of a backend."""

    async def get_leases(self, backend: str | None = None) -> list[LeaseView]:
        """Who has a request in flight on which backend."""

    async def force_release(self, lease_id: int) -> LeaseView:
        """Take a lease from whoever holds it."""

    async def metrics(self) -> Metrics:
        """A snapshot of all counters."""

    async def owner_statistics(self) -> OwnerStatistics:
        """A snapshot of the owner."""

    async def history(self, since: int | None = 0, limit: int = 100) -> list[Change]:
        """Durable changes of the past."""

    def watch(self, since: int | None = None) -> AsyncIterator[Change]:
        """Durable changes as they are made."""
