"""What the babysitter itself answers at its own port: `/health`, `/models` and `/info`, as the original does."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Callable
from http import HTTPStatus
from typing import Any

import msgspec

from registry.babysitter.asking import Asker, NotAnswering
from registry.babysitter.ports import listen
from registry.babysitter.settings import Settings
from registry.babysitter.standing import Standing
from registry.gateway.http1.deadlines import Deadlines
from registry.gateway.http1.limits import ServerLimits
from registry.gateway.http1.listener import Listener
from registry.gateway.http1.messages import Refusal, Request
from registry.gateway.http1.response import Response

DRAIN_S = 1.0

_LIMITS = ServerLimits(max_head_bytes=16 * 1024, max_body_bytes=16 * 1024)
_JSON = [(b"content-type", b"application/json")]


class Pages:
    """Answers at the babysitter's port.

    Args:
        settings: What the babysitter was told.
        standing: How it stands with the server.
        metadata: That of the babysitter's entry.
        asker: Gives what asks the server of the present life; None if there is no life.
    """

    def __init__(
        self,
        settings: Settings,
        standing: Standing,
        metadata: dict[str, Any],
        asker: Callable[[], Asker | None],
    ) -> None:
        self._settings = settings
        self._standing = standing
        self._metadata = metadata
        self._asker = asker
        self._since_s = time.monotonic()
        self._listening: socket.socket | None = None
        self._pages = {b"/health": self._health, b"/models": self._models, b"/info": self._info}

    def serve(self) -> None:
        """Listen from now on.

        Raises:
            CannotListen: The port is taken, or the address is none of this machine.
        """
        self._listening = listen(self._settings.listens_on, self._settings.own_port)
        self._listener = Listener(self, _LIMITS, Deadlines(asyncio.get_running_loop()))
        self._listener.listen(self._listening)

    async def close(self) -> None:
        """Stop listening; what is being answered has a moment to end."""
        if self._listening is not None:
            await self._listener.drain(DRAIN_S)
            self._listening.close()

    def begin(self, request: Request, response: Response) -> bool:  # noqa: ARG002 -- an Application
        """Nothing here is asked so often."""
        return False

    async def handle(self, request: Request, response: Response) -> None:
        """Answer a request."""
        page = self._pages.get(request.path)
        if page is None:
            _send(response, HTTPStatus.NOT_FOUND, {"error": "Not Found: there are /health, /models and /info"})
        elif request.method not in {b"GET", b"HEAD"}:
            body = msgspec.json.encode({"error": "Method Not Allowed"})
            response.send(HTTPStatus.METHOD_NOT_ALLOWED, [*_JSON, (b"allow", b"GET,HEAD")], body)
        else:
            await page(response)

    def refuse(self, refusal: Refusal, response: Response) -> None:
        """Answer what is no proper request."""
        _send(response, refusal.status, {"error": refusal.reason})

    async def _health(self, response: Response) -> None:
        standing = self._standing
        said = {
            "status": "healthy" if standing.healthy else "unhealthy",
            "service": self._settings.name,
            "babysitter": "enhanced",
            "infinilm_server_running": standing.alive,
            "infinilm_server_port": self._server_port,
            "timestamp": time.time(),
        }
        _send(response, HTTPStatus.OK if standing.healthy else HTTPStatus.SERVICE_UNAVAILABLE, said)

    async def _models(self, response: Response) -> None:
        asker = self._asker()
        if asker is None or not self._standing.healthy:
            reason = f"the server is not ready: {self._standing.phase}"
            return _send(response, HTTPStatus.SERVICE_UNAVAILABLE, {"error": reason})
        try:
            response.send(HTTPStatus.OK, _JSON, await asker.list())
        except NotAnswering as error:
            _send(response, HTTPStatus.SERVICE_UNAVAILABLE, {"error": f"the server gave no models: {error}"})

    async def _info(self, response: Response) -> None:
        settings = self._settings
        said = {
            "name": settings.name,
            "host": settings.address,
            "port": settings.own_port,
            "url": settings.url(settings.own_port),
            "service_type": settings.service_type,
            "metadata": self._metadata,
            "infinilm_server_port": self._server_port,
            "uptime": int(time.monotonic() - self._since_s),
            "restart_count": self._standing.restarts,
        }
        _send(response, HTTPStatus.OK, said)

    @property
    def _server_port(self) -> int | None:
        return self._settings.port if self._standing.was_ready else None


def _send(response: Response, status: HTTPStatus, said: dict[str, Any]) -> None:
    response.send(status, _JSON, msgspec.json.encode(said))
