"""The backends that the operator named are those that the registry has."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from registry.client import AsyncRegistry
from registry.kinds import DiscoverySource
from registry.models import Backend, BackendView

logger = logging.getLogger(__name__)

NAMED = (
    *("name", "url", "backend_type", "priority", "weight", "max_concurrency", "labels", "metadata"),
    "discovery_source",
)
"""What the operator says of a backend; all else is found out."""

OURS = {DiscoverySource.STATIC, DiscoverySource.SERVICE}
"""Whose backends become the operator's when they are named; what somebody added by hand stays so."""


async def reconcile(registry: AsyncRegistry, named: Sequence[Backend]) -> None:
    """Make the static backends of the registry those that are named; those that came otherwise stay.

    A backend that is as it is named is not touched: it keeps its revision, and what is known of it.
    """
    wanted = {backend.id: backend for backend in named}
    present = {view.id: view for view in await registry.get_all_backends(fresh=True)}
    for id, backend in wanted.items():
        there = present.get(id)
        if there is not None and there.discovery_source not in OURS:
            logger.warning("the backend %s was added by hand before; it is left as it is", id)
        elif there is None or not _is_same(backend, there):
            await registry.put_backend(backend)
    for id, view in present.items():
        if view.discovery_source is DiscoverySource.STATIC and id not in wanted:
            await registry.remove_backend(id)
            logger.info("backend %s is not named any more and was removed", id)


def _is_same(backend: Backend, view: BackendView) -> bool:
    return all(getattr(backend, field) == getattr(view, field) for field in NAMED)
