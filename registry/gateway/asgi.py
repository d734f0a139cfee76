"""An ASGI application on the same port as the data plane."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any
from urllib.parse import unquote_to_bytes

from registry.gateway.http1.messages import Request
from registry.gateway.http1.response import Response

Message = MutableMapping[str, Any]
AsgiApp = Callable[
    [MutableMapping[str, Any], Callable[[], Awaitable[Message]], Callable[[Message], Awaitable[None]]],
    Awaitable[None],
]
# The server writes these itself.
FRAMING = frozenset({b"content-length", b"transfer-encoding", b"connection"})


async def answer_with_asgi(app: AsgiApp, request: Request, response: Response) -> None:
    """Let an ASGI 3 application answer a request.

    The application learns that the client has left by being cancelled, like everything else here.

    Args:
        app: The application; it gets no lifespan events.
        request: A whole request.
        response: Where the answer goes.
    """
    call = _AsgiCall(request, response)
    await app(_scope(request), call.receive, call.send)


def _scope(request: Request) -> dict[str, Any]:
    _, _, query = request.target.partition(b"?")
    return {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": "1.0" if request.http_1_0 else "1.1",
        "method": request.method.decode("ascii"),
        "scheme": "http",
        "path": unquote_to_bytes(request.path).decode("utf-8", "replace"),
        "raw_path": request.path,
        "query_string": query,
        "root_path": "",
        "headers": list(request.headers),
        "client": None,
        "server": None,
    }


class _AsgiCall:
    def __init__(self, request: Request, response: Response) -> None:
        self._request = request
        self._response = response
        self._body_taken = False
        self._status = 0
        self._headers: list[tuple[bytes, bytes]] = []
        self._length: int | None = None

    async def receive(self) -> Message:
        if not self._body_taken:
            self._body_taken = True
            return {"type": "http.request", "body": self._request.body, "more_body": False}
        await asyncio.Event().wait()  # until cancelled: nothing else can come
        return {"type": "http.disconnect"}

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self._start(message)
            return
        body = bytes(message.get("body", b""))
        more = bool(message.get("more_body", False))
        response = self._response
        if not response.started and not more and self._length in {None, len(body)}:
            response.send(self._status, self._headers, body)
            return
        if not response.started:
            response.start(self._status, self._headers, length=self._length)
        response.write(body)
        if more:
            await response.writable()
        else:
            response.end()

    def _start(self, message: Message) -> None:
        self._status = message["status"]
        for name, value in message.get("headers", ()):
            field = bytes(name).lower()
            if field == b"content-length":
                self._length = int(value)
            if field not in FRAMING:
                self._headers.append((field, bytes(value)))
