"""Stand-ins for AI servers: small real HTTP servers that answer what a test wants, as the real ones would."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

from registry.addresses import AddressRules, AddressSettings
from registry.health.findings import Finding
from registry.health.prober import Prober
from registry.kinds import BackendStatus, BackendType, Target
from registry.state.probe_records import ProbeOrder
from tests.listening import Server

TIMEOUT_S = 5.0
PSEUDONYM = "me"


def answer(body: bytes | Any, status: str = "200 OK", *fields: str) -> bytes:
    """A whole answer; a body that is no bytes is sent as JSON."""
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    head = "\r\n".join([f"HTTP/1.1 {status}", f"content-length: {len(content)}", *fields, "", ""])
    return head.encode() + content


def listing(*models: str) -> bytes:
    """The answer of a server with OpenAI's API that has these models."""
    return answer({"object": "list", "data": [{"id": model, "object": "model"} for model in models]})


NOT_FOUND = answer({"detail": "Not Found"}, "404 Not Found")


class StandIn(Server):
    """A server; what it has not, it answers with 404.

    Attributes:
        pages: The whole answer to each request, by method and path; None for silence.
        requests: The heads of the requests it has got.
        bodies: Their contents.
    """

    def __init__(self, pages: Mapping[str, bytes | None]) -> None:
        super().__init__()
        self.pages = dict(pages)
        self.requests: list[str] = []
        self.bodies: list[bytes] = []

    @property
    def paths(self) -> list[str]:
        """The requests without their header fields."""
        return [head.partition(" HTTP/")[0] for head in self.requests]

    async def write(self, writer: asyncio.StreamWriter, reply: bytes) -> None:
        """Send an answer; a stand-in that is slow does it in its own way."""
        writer.write(reply)
        await writer.drain()

    async def talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            await self._answer(reader, writer)

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
