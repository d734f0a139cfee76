"""The backends that the operator named: registered at the start, and asked for their models again and again."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping, Sequence

import httpx2

from actors.errors import ActorsError
from registry.client import AsyncRegistry
from registry.discovery.models_endpoint import TIMEOUT_S, BackendDown, ask_models
from registry.errors import BackendNotFound
from registry.kinds import BackendStatus, DiscoverySource
from registry.models import Backend, BackendView, Model

logger = logging.getLogger(__name__)

DOUBTS = 3
"""A healthy backend that is too slow, or answers nonsense, so many times in a row is unhealthy."""


async def reconcile(registry: AsyncRegistry, named: Sequence[Backend]) -> None:
    """Make the static backends of the registry those that are named; backends added by hand stay."""
    wanted = {backend.id: backend for backend in named}
    present = {view.id: view for view in await registry.get_all_backends(fresh=True)}
    for id, view in present.items():
        if view.discovery_source is DiscoverySource.STATIC and id not in wanted:
            await registry.remove_backend(id)
            logger.info("backend %s is not named any more and was removed", id)
    for id, backend in wanted.items():
        there = present.get(id)
        if there is None or (there.discovery_source is DiscoverySource.STATIC and not _is_same(backend, there)):
            await registry.put_backend(backend)
        elif there.discovery_source is not DiscoverySource.STATIC:
            logger.warning("the backend %s was added by hand before; it is left as it is", id)


def _is_same(backend: Backend, view: BackendView) -> bool:
    fields = ("name", "url", "backend_type", "priority", "weight", "max_concurrency", "labels", "metadata")
    return all(getattr(backend, field) == getattr(view, field) for field in fields)


class ModelWatch:
    """Asks every backend for its models and notes what it finds.

    Args:
        registry: Where backends are read and findings written.
        client: The HTTP client.
        api_keys: The key of each backend that needs one, by URL.
    """

    def __init__(self, registry: AsyncRegistry, client: httpx2.AsyncClient, api_keys: Mapping[str, str]) -> None:
        self._registry = registry
        self._client = client
        self._api_keys = api_keys
        self._doubts: dict[str, int] = {}

    async def ask_all(self) -> None:
        """One round: all backends at the same time, so that a hung one keeps nobody waiting but this round."""
        try:
            backends = await self._registry.get_all_backends(fresh=True)
        except ActorsError as error:
            logger.warning("the owner does not answer: %s", error)
            return
        asked = [view for view in backends if view.status is not BackendStatus.DRAINING]
        self._doubts = {view.id: self._doubts.get(view.id, 0) for view in asked}
        for view, result in zip(
            asked, await asyncio.gather(*(self._ask(view) for view in asked), return_exceptions=True), strict=True
        ):
            if isinstance(result, Exception):
                # One backend that nobody foresaw must not end the questions to all the others.
                logger.error("asking %s failed", view.id, exc_info=result)

    async def _ask(self, view: BackendView) -> None:
        try:
            models = await ask_models(self._client, view.url, self._api_keys.get(view.url))
        except BackendDown as error:
            note = self._note_down(view, error)
        else:
            self._doubts[view.id] = 0
            note = self._note_up(view, models)
        try:
            await note
        except BackendNotFound:
            pass  # removed meanwhile
        except ActorsError as error:
            logger.warning("what was found out about %s could not be noted: %s", view.id, error)

    async def _note_up(self, view: BackendView, models: list[Model]) -> None:
        await self._registry.update_models(view.id, models)
        await self._registry.update_status(view.id, BackendStatus.HEALTHY, keep_draining=True)
        if view.status is not BackendStatus.HEALTHY:
            logger.info("backend %s is healthy: %s", view.id, ", ".join(model.id for model in models) or "no models")

    async def _note_down(self, view: BackendView, error: BackendDown) -> None:
        self._doubts[view.id] += 1
        if view.status is BackendStatus.HEALTHY and not error.certain and self._doubts[view.id] < DOUBTS:
            return
        await self._registry.update_status(view.id, BackendStatus.UNHEALTHY, str(error)[:4096], keep_draining=True)
        if view.status is not BackendStatus.UNHEALTHY:
            logger.warning("backend %s (%s) is not available: %s; it is asked again", view.id, view.url, error)


def http_client() -> httpx2.AsyncClient:
    """The client for such questions: no redirects, no proxies from the environment."""
    return httpx2.AsyncClient(timeout=TIMEOUT_S, follow_redirects=False, trust_env=False)
