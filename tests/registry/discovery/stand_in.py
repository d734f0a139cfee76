"""A stand-in for an AI server's `/v1/models`: a small real HTTP server that answers what a test wants."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager


def listing(*models: str) -> bytes:
    """The whole answer of a server that has these models."""
    return answer(json.dumps({"object": "list", "data": [{"id": model} for model in models]}).encode())


def answer(body: bytes, status: str = "200 OK", *fields: str) -> bytes:
    """A whole answer."""
    head = "\r\n".join([f"HTTP/1.1 {status}", f"content-length: {len(body)}", "connection: close", *fields, "", ""])
    return head.encode() + body


class ModelServer:
    """Answers every request with the same bytes, and then closes.

    Attributes:
        reply: What it answers; None for a server that says nothing.
        requests: The heads of the requests it has got.
    """

    def __init__(self, reply: bytes | None) -> None:
        self.reply = reply
        self.requests: list[str] = []
        self._server: asyncio.Server | None = None
        self._port = 0
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._port}"

    async def start(self) -> None:
        """Listen, at the same port as before if it was stopped."""
        self._server = await asyncio.start_server(self._connected, "127.0.0.1", self._port)
        self._port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        """Listen no more; connections are refused from now on."""
        assert self._server is not None
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        try:
            with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
                self.requests.append((await reader.readuntil(b"\r\n\r\n")).decode())
                if self.reply is None:
                    await asyncio.Event().wait()
                else:
                    writer.write(self.reply)
                    await writer.drain()
        finally:
            writer.close()


@asynccontextmanager
async def model_server(reply: bytes | None) -> AsyncIterator[ModelServer]:
    """A server that listens within the block."""
    server = ModelServer(reply)
    await server.start()
    try:
        yield server
    finally:
        await server.stop()
