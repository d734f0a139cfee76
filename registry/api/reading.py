"""What the control plane needs from the registry."""

from __future__ import annotations

from typing import Protocol

from registry.metrics import Metrics
from registry.models import BackendView


class ReadableRegistry(Protocol):
    """The part of `registry.AsyncRegistry` that the control plane uses."""

    async def get_all_backends(self) -> list[BackendView]:
        """All backends, whatever their status."""

    async def get_backend(self, id: str, /) -> BackendView | None:
        """One backend."""

    async def metrics(self) -> Metrics:
        """A snapshot of all counters."""
