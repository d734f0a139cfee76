"""`/leases`: which requests are in flight, and on which backend."""

from __future__ import annotations

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict

from registry.api.asked import AskedRegistry
from registry.api.documented import WRITING, problems
from registry.api.parameters import BackendFilter, LeaseId
from registry.models import LeaseView


class LeaseList(BaseModel):
    """Leases, oldest first."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    leases: list[LeaseView]


class Leases:
    """Answers questions about leases, and takes them back.

    Args:
        registry: What is asked.
    """

    def __init__(self, registry: AskedRegistry) -> None:
        self._registry = registry

    def add_to(self, router: APIRouter) -> None:
        """Add the paths."""
        router.add_api_route("/leases", self.list, methods=["GET"], summary="List leases", responses=problems())
        missing = problems(*WRITING, 404)
        router.add_api_route(
            "/leases/{id}", self.release, methods=["DELETE"], summary="Release a lease", responses=missing
        )

    async def list(self, backend: BackendFilter = None) -> LeaseList:
        """Who has a request in flight on which backend, oldest first."""
        return LeaseList.model_construct(leases=await self._registry.get_leases(backend))

    async def release(self, id: LeaseId) -> LeaseView:
        """Take a lease from whoever holds it; answers with it as it was. The request itself goes on."""
        return await self._registry.force_release(id)
