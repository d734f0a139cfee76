"""`/livez` and `/readyz`: two questions that are easily mixed up.

`/livez`: is this process alive? It asks nobody, since restarting this process cures nothing else. `/readyz`:
would a request be answered now? A third one, `/health`, is that of a service registry: `registry.gateway.services`
answers it.
"""

from __future__ import annotations

import asyncio
from http import HTTPStatus

from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response

from actors.errors import ActorsError
from registry.api.asked import AskedRegistry
from registry.kinds import BackendStatus
from registry.metrics import BackendMetrics

READY_TIMEOUT_S = 1.0


class Probes:
    """Answers probes.

    Args:
        registry: Asked for the backends.
        leaving: Set when this process takes no new clients any more.
    """

    def __init__(self, registry: AskedRegistry, leaving: asyncio.Event) -> None:
        self._registry = registry
        self._leaving = leaving

    async def live(self, request: Request) -> Response:  # noqa: ARG002 -- a Starlette endpoint
        """`GET /livez`."""
        return PlainTextResponse("alive\n")

    async def ready(self, request: Request) -> Response:  # noqa: ARG002 -- a Starlette endpoint
        """`GET /readyz`."""
        reason = await self._why_not_ready()
        if reason is None:
            return PlainTextResponse("ready\n")
        return PlainTextResponse(f"{reason}\n", HTTPStatus.SERVICE_UNAVAILABLE)

    async def _why_not_ready(self) -> str | None:
        if self._leaving.is_set():
            return "draining: this gateway takes no new requests"
        try:
            async with asyncio.timeout(READY_TIMEOUT_S):
                backends = (await self._registry.metrics()).backends
        except TimeoutError:
            return f"the owner did not answer within {READY_TIMEOUT_S:g} s"
        except ActorsError as error:
            return f"the owner does not answer: {error}"
        if not any(map(is_healthy, backends)):
            return "no healthy backend"
        return None


def is_healthy(backend: BackendMetrics) -> bool:
    """Whether requests are sent to this backend."""
    return backend.status == BackendStatus.HEALTHY
