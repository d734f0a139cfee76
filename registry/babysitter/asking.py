"""What the AI server says when it is asked whether it is ready, and for its models."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from types import TracebackType
from typing import Any, ClassVar, Self

import httpx2
import msgspec

from actors.errors import UNDECODABLE
from registry.urls import http_url

MAX_BYTES = 256 * 1024
"""Longest answer; its models stand in the registry's entry, which may have 1 MiB."""

PATHS = ("/v1/models", "/models")

_NO_MODELS = frozenset({401, 403, 404, 405})
"""A server that answers so is there, but does not say its models: it wants a key, or has no such page."""


class NotAnswering(Exception):
    """The server is not there, not ready, or too slow; says which.

    Attributes:
        nobody: Whether nobody listens at its port.
    """

    def __init__(self, reason: str, *, nobody: bool = False) -> None:
        super().__init__(reason)
        self.nobody = nobody


class Answer(msgspec.Struct, frozen=True):
    """What a server that is ready has said.

    Attributes:
        models: Its models as it lists them, each an object with an `id`; None if it does not say.
    """

    models: tuple[dict[str, Any], ...] | None


class Asker:
    """Asks one life of a server.

    Args:
        hosts: Where it may listen; the first at which somebody answers is kept to.
        port: Its port.
        timeout_s: Longest wait for all that one question asks, in seconds.
    """

    TIMEOUT_S: ClassVar[float] = 5.0

    def __init__(self, hosts: Sequence[str], port: int, timeout_s: float = TIMEOUT_S) -> None:
        self._timeout_s = timeout_s
        self._bases = [http_url(host, port) for host in hosts]
        self._has_health = True
        # A connection for each question: one that was kept open says nothing of whether the server takes new ones.
        self._http = httpx2.AsyncClient(
            headers={"accept": "application/json", "accept-encoding": "identity", "user-agent": "actor-registry"},
            trust_env=False,
            timeout=timeout_s,
            limits=httpx2.Limits(max_keepalive_connections=0),
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self._http.aclose()

    async def ask(self) -> Answer:
        """Ask whether it is ready, and for its models.

        Some servers list their models while they still load them, and say so at `/health`.

        Raises:
            NotAnswering: It is not ready.
        """
        async with _explained(self._timeout_s):
            health = (await self._get("/health"))[0] if self._has_health else 404
            if health == 503:
                raise NotAnswering("it says that it is not ready (GET /health answered 503)")
            refused = None
            for path in PATHS:
                status, body = await self._get(path)
                if 200 <= status < 300:
                    self._has_health = health != 404
                    return Answer(_read(body))
                if status not in _NO_MODELS:
                    refused = f"GET {path} answered {status}"
            if refused:
                raise NotAnswering(refused)
            return Answer(None)

    async def list(self) -> bytes:
        """Its list of models as it stands, JSON.

        Raises:
            NotAnswering: It gives none.
        """
        async with _explained(self._timeout_s):
            for path in PATHS:
                status, body = await self._get(path)
                if 200 <= status < 300 and _is_json(body):
                    return body
            raise NotAnswering("it gives no list of models")

    async def _get(self, path: str) -> tuple[int, bytes]:
        for _ in self._bases[1:]:
            try:
                return await self._get_from(self._bases[0], path)
            except httpx2.ConnectError:
                self._bases.append(self._bases.pop(0))
        return await self._get_from(self._bases[0], path)

    async def _get_from(self, base: str, path: str) -> tuple[int, bytes]:
        body = bytearray()
        async with self._http.stream("GET", base + path) as response:
            async for chunk in response.aiter_raw():
                body += chunk
                if len(body) > MAX_BYTES:
                    return response.status_code, b""
        return response.status_code, bytes(body)


@asynccontextmanager
async def _explained(timeout_s: float) -> AsyncIterator[None]:
    """Turn what the HTTP library raises into a sentence, and end what takes too long.

    The library's own timeout is for each read: a server that sends a byte now and then would never reach it.
    """
    try:
        async with asyncio.timeout(timeout_s):
            yield
    except httpx2.ConnectError:
        raise NotAnswering("nobody answers at its port", nobody=True) from None
    except (httpx2.TimeoutException, TimeoutError):
        raise NotAnswering(f"it does not answer within {timeout_s:g} s") from None
    except httpx2.HTTPError as error:
        raise NotAnswering(f"it does not speak HTTP as it should ({type(error).__name__})") from None
    except (httpx2.InvalidURL, UnicodeError):
        raise NotAnswering("its host is no name that could be looked up") from None


def _is_json(body: bytes) -> bool:
    try:
        msgspec.json.decode(body)
    except UNDECODABLE:
        return False
    return True


def _read(body: bytes) -> tuple[dict[str, Any], ...] | None:
    """The models in an answer, each once; None if it is no list of models.

    >>> _read(b'{"data": [{"id": "m"}, {"id": "m"}, {"id": ""}, 7]}')
    ({'id': 'm'},)
    >>> _read(b"<h1>welcome</h1>")
    """
    try:
        said = msgspec.json.decode(body)
    except UNDECODABLE:
        return None
    listed = said.get("data") if isinstance(said, dict) else said
    if not isinstance(listed, list):
        return None
    models: dict[str, dict[str, Any]] = {}
    for model in listed:
        if isinstance(model, dict) and isinstance(id := model.get("id"), str) and id:
            models.setdefault(id, model)
    return tuple(models.values())
