"""Stand-ins for AI servers: small real HTTP servers that answer what a test wants, as the real ones would."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import json
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping
from contextlib import asynccontextmanager
from typing import Any, ParamSpec

import uvloop

from registry.addresses import AddressRules, AddressSettings
from registry.health.findings import Finding
from registry.health.prober import Prober
from registry.kinds import BackendStatus, BackendType, Target
from registry.state.probe_records import ProbeOrder

P = ParamSpec("P")
TEST_DEADLINE_S = 20
TIMEOUT_S = 5.0
PSEUDONYM = "me"


def on_loop(test: Callable[P, Coroutine[Any, Any, None]]) -> Callable[P, None]:
    """Run an async test on uvloop, as the health checker does."""

    @functools.wraps(test)
    def run(*args: P.args, **kwargs: P.kwargs) -> None:
        async def limited() -> None:
            async with asyncio.timeout(TEST_DEADLINE_S):
                await test(*args, **kwargs)

        uvloop.run(limited())

    return run


def answer(body: bytes | Any, status: str = "200 OK", *fields: str) -> bytes:
    """A whole answer; a body that is no bytes is sent as JSON."""
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    head = "\r\n".join([f"HTTP/1.1 {status}", f"content-length: {len(content)}", *fields, "", ""])
    return head.encode() + content


def listing(*models: str) -> bytes:
    """The answer of a server with OpenAI's API that has these models."""
    return answer({"object": "list", "data": [{"id": model, "object": "model"} for model in models]})


NOT_FOUND = answer({"detail": "Not Found"}, "404 Not Found")


class StandIn:
    """A server; what it has not, it answers with 404.

    Attributes:
        pages: The whole answer to each request, by method and path; None for silence.
        requests: The heads of the requests it has got.
        bodies: Their contents.
        connections: How many connections it has got.
    """

    def __init__(self, pages: Mapping[str, bytes | None]) -> None:
        self.pages = dict(pages)
        self.requests: list[str] = []
        self.bodies: list[bytes] = []
        self.connections = 0
        self._port = 0
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._port}"

    @property
    def paths(self) -> list[str]:
        """The requests without their header fields."""
        return [head.partition(" HTTP/")[0] for head in self.requests]

    async def start(self) -> None:
        """Listen, at the same port as before if it was stopped."""
        self._server = await asyncio.start_server(self._connected, "127.0.0.1", self._port)
        self._port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        """Listen no more, and end all connections."""
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def write(self, writer: asyncio.StreamWriter, reply: bytes) -> None:
        """Send an answer; a stand-in that is slow does it in its own way."""
        writer.write(reply)
        await writer.drain()

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        self.connections += 1
        try:
            with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
                while True:
                    await self._answer(reader, writer)
        finally:
            writer.close()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        fields = {
            name.lower(): value.strip() for name, _, value in (line.partition(":") for line in head.split("\r\n"))
        }
        self.bodies.append(await reader.readexactly(int(fields.get("content-length", 0))))
        self.requests.append(head)
        reply = self.pages.get(self.paths[-1], self.pages.get("*", NOT_FOUND))
        if reply is None:
            await asyncio.Event().wait()
        else:
            await self.write(writer, reply)


@asynccontextmanager
async def running(server: StandIn) -> AsyncIterator[StandIn]:
    """A server that listens within the block."""
    await server.start()
    try:
        yield server
    finally:
        await server.stop()


def order(url: str, type: BackendType = BackendType.GENERIC, **fields: Any) -> ProbeOrder:
    """An order to probe a backend."""
    return ProbeOrder(
        **{"number": 1, "target": Target.BACKEND, "name": "b", "url": url, "backend_type": type, **fields}
    )


def prober(
    api_keys: Mapping[str, str] | None = None, timeout_s: float = TIMEOUT_S, addresses: AddressSettings | None = None
) -> Prober:
    """A prober with the usual rules."""
    return Prober(AddressRules.of(addresses or AddressSettings()), api_keys or {}, timeout_s, PSEUDONYM)


async def found(
    server: StandIn, type: BackendType = BackendType.GENERIC, *, key: str | None = None, timeout_s: float = TIMEOUT_S
) -> Finding:
    """What one probe of a server finds."""
    async with running(server):
        finding = await prober({} if key is None else {server.url: key}, timeout_s).probe(order(server.url, type))
    well = finding.status is BackendStatus.HEALTHY
    assert (finding.error is None) is well
    assert (finding.models is not None) is well
    assert finding.error is None or (finding.error.isprintable() and 5 < len(finding.error) <= 300)
    return finding
