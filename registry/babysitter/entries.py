"""The two entries of a babysitter in the registry: its own, and that of the AI server."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

from registry.babysitter.settings import Settings
from registry.babysitter.standing import Phase, Standing
from registry.errors import InvalidField
from registry.services.client import AsyncServiceClient
from registry.services.keeping import AsyncKept

logger = logging.getLogger(__name__)


class Entries:
    """Keeps both entries as it stands with the server; nothing here waits for the registry but `leave`.

    Args:
        client: The registry.
        settings: What the babysitter was told.
        metadata: That of its own entry.
    """

    def __init__(self, client: AsyncServiceClient, settings: Settings, metadata: dict[str, Any]) -> None:
        self._client = client
        self._settings = settings
        self._metadata = metadata
        self._kept: list[AsyncKept] = []
        self._own: AsyncKept | None = None
        self._own_told: Phase | None = None
        self._server: AsyncKept | None = None
        self._told: tuple[Phase, dict[str, Any]] | None = None

    async def tell(self, standing: Standing) -> None:
        """Let the entries say how it stands with the server.

        That of the babysitter is made by the first call. That of the server is not before it was ready for the first
        time; while the server is down it stays, with a status that keeps requests away, and without heartbeats.
        """
        if standing.phase is not self._own_told:
            self._own_told = standing.phase
            await self._say_own(standing)
        if standing.was_ready:
            await self._tell_server(standing)

    async def _say_own(self, standing: Standing) -> None:
        if self._own is None:
            settings = self._settings
            self._own = await self._keep(settings.name, settings.own_port, standing.phase, self._metadata)
        else:
            self._own.change(status=standing.phase)

    async def _tell_server(self, standing: Standing) -> None:
        metadata = server_metadata(self._settings, standing)
        now = (standing.phase, metadata)
        if now == self._told:
            return
        self._told = now
        try:
            await self._say_server(standing, metadata)
        except InvalidField as error:
            logger.warning("the registry gets only the names of the models of %s: %s", self._settings.name, error)
            await self._say_server(standing, {key: value for key, value in metadata.items() if key != "models_list"})

    async def leave(self) -> None:
        """Unregister both, that of the server first; gives up where the registry does not answer in time."""
        await asyncio.gather(*(kept.end() for kept in reversed(self._kept)))

    async def _say_server(self, standing: Standing, metadata: dict[str, Any]) -> None:
        if self._server is None:
            settings = self._settings
            self._server = await self._keep(settings.server_name, settings.port, standing.phase, metadata)
        else:
            self._server.change(status=standing.phase, metadata=metadata, alive=standing.healthy)

    async def _keep(self, name: str, port: int, phase: Phase, metadata: dict[str, Any]) -> AsyncKept:
        settings = self._settings
        kept = self._client.keep(
            name,
            port=port,
            host=settings.address,
            url=settings.url(port),
            status=phase,
            metadata=metadata,
            interval_s=settings.heartbeat_interval_s,
            wait_s=0,
        )
        self._kept.append(kept)
        return await kept.__aenter__()


def own_metadata(settings: Settings, started_at: str) -> dict[str, Any]:
    """The metadata of the babysitter's own entry, as in the original.

    Args:
        settings: What it was told.
        started_at: When it was started, as an ISO 8601 timestamp.
    """
    file = {} if settings.config_file is None else {"config_file": str(settings.config_file)}
    return {"type": settings.service_type, **file, "babysitter": "enhanced", "started_at": started_at}


def server_metadata(settings: Settings, standing: Standing) -> dict[str, Any]:
    """The metadata of the AI server's entry: that of the original, and over it what the operator wants."""
    models: dict[str, Any] = {}
    if standing.models is not None:
        models = {"models": [model["id"] for model in standing.models], "models_list": list(standing.models)}
    return {
        "type": "openai-api",
        "parent_service": settings.name,
        "babysitter": "enhanced",
        "started_at": standing.ready_since,
        **models,
        **settings.metadata,
    }
