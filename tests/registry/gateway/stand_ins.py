"""Stand-ins for what surrounds a gateway: a registry in memory, a scripted upstream server, a raw client."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import Any, NamedTuple

import msgspec

from registry.errors import ModelNotFound, NoBackendAvailable
from registry.gateway.app import Gateway
from registry.gateway.http1.limits import ServerLimits, UpstreamLimits
from registry.gateway.settings import GatewaySettings
from registry.kinds import Outcome
from registry.models import Lease
from tests.listening import Server
from tests.registry.gateway.services.fake_services import FakeServices


async def turns_until(condition: Callable[[], bool]) -> None:
    """Let the loop turn until something inside the gateway is so."""
    while not condition():  # noqa: ASYNC110 -- what is waited for is state of the code under test, which has no event
        await asyncio.sleep(0)


class FakeRegistry(FakeServices):
    """A registry in memory, for the gateway alone; the real one has tests of its own."""

    def __init__(self, backends: dict[str, str], model: str = "m") -> None:
        super().__init__()
        self.backends = backends
        self.model = model
        self.held: dict[int, Lease] = {}
        self.released: asyncio.Queue[tuple[str, Outcome]] = asyncio.Queue()
        self.timings: list[tuple[int | None, int | None]] = []
        self.errors: list[int] = []
        self.failure: Exception | None = None
        self.acquired = asyncio.Event()
        self.grant_allowed: asyncio.Event | None = None
        self.waits: list[float | None] = []
        self._ids = 0

    async def acquire(
        self, model: str, *, exclude: Sequence[str] = (), wait: bool = False, timeout: float = 10.0
    ) -> Lease:
        self.waits.append(timeout if wait else None)
        self.acquired.set()
        if self.grant_allowed is not None:
            await self.grant_allowed.wait()
        if self.failure is not None:
            raise self.failure
        if model != self.model:
            raise ModelNotFound(model, [self.model])
        for backend, url in self.backends.items():
            if backend not in exclude:
                self._ids += 1
                lease = Lease(id=self._ids, backend=backend, url=url, model=model, deadline_s=0.0)
                self.held[lease.id] = lease
                return lease
        raise NoBackendAvailable(model, 1.5)

    def release_nowait(
        self,
        lease: Lease,
        *,
        outcome: Outcome,
        latency_ms: int | None = None,
        first_byte_ms: int | None = None,
    ) -> None:
        del self.held[lease.id]  # a second release fails here
        self.timings.append((latency_ms, first_byte_ms))
        self.released.put_nowait((lease.backend, outcome))

    async def get_models(self) -> list[str]:
        if self.failure is not None:
            raise self.failure
        return [self.model]

    def count_http_error(self, code: int) -> None:
        self.errors.append(code)


class Answer(NamedTuple):
    """One answer as it came over the wire; `body` is None if the connection ended before it was whole."""

    status: int
    headers: dict[str, str]
    body: bytes | None
    received: bytes

    def json(self) -> Any:
        return json.loads(self.received)


class Peer:
    """One end of a connection, at the level of bytes."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    def send(self, *pieces: bytes) -> None:
        self.writer.write(b"".join(pieces))

    async def read_head(self) -> tuple[str, dict[str, str]]:
        head = (await self.reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        first, *lines = head.strip().split("\r\n")
        return first, {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}

    async def read_answer(self, *, head_only: bool = False) -> Answer:
        first, headers = await self.read_head()
        assert first.startswith("HTTP/1.1 "), first
        status = int(first.split()[1])
        received = bytearray()
        whole = True
        if status == 100 or head_only:
            pass
        elif headers.get("transfer-encoding") == "chunked":
            whole = await self._read_chunks(received)
        elif "content-length" in headers:
            length = int(headers["content-length"])
            with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
                received += await self.reader.readexactly(length)
            whole = len(received) == length
        else:
            received += await self.reader.read()
        return Answer(status, headers, bytes(received) if whole else None, bytes(received))

    async def _read_chunks(self, received: bytearray) -> bool:
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while size := int(await self.reader.readuntil(b"\r\n"), 16):
                received += (await self.reader.readexactly(size + 2))[:-2]
            await self.reader.readexactly(2)
            return True
        return False

    async def read_chunk(self) -> bytes:
        size = int(await self.reader.readuntil(b"\r\n"), 16)
        return (await self.reader.readexactly(size + 2))[:-2]

    async def ended(self) -> bool:
        """Wait for the other side to close; whether nothing came before that."""
        try:
            return await self.reader.read() == b""
        except ConnectionError:
            return True

    def cut(self) -> None:
        """Close with a reset, as a killed process with unread data does."""
        self.writer.transport.abort()

    async def close(self) -> None:
        self.writer.close()
        with contextlib.suppress(OSError):
            await self.writer.wait_closed()


class Received(NamedTuple):
    """A request as the stand-in upstream server got it."""

    line: str
    headers: dict[str, str]
    body: bytes


Script = Callable[[Peer, Received], Awaitable[None]]


async def answer_ok(peer: Peer, request: Received) -> None:
    """A script: answer everything with the same small JSON object."""
    del request
    send_whole(peer, b'{"ok":true}')


def send_whole(peer: Peer, body: bytes, status: str = "200 OK", fields: str = "") -> None:
    """Send a whole answer."""
    head = f"HTTP/1.1 {status}\r\ncontent-type: application/json\r\ncontent-length: {len(body)}\r\n{fields}\r\n"
    peer.send(head.encode(), body)


def start_events(peer: Peer, fields: str = "") -> None:
    """Send the head of a stream of events."""
    peer.send(
        f"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n{fields}\r\n".encode()
    )


def chunk(data: bytes) -> bytes:
    """Frame a chunk of a body."""
    return b"%x\r\n%b\r\n" % (len(data), data)


class Upstream(Server):
    """A stand-in for an AI server: hands each request to a script, which writes any bytes it likes."""

    def __init__(self, script: Script = answer_ok) -> None:
        super().__init__()
        self.script = script
        self.requests: asyncio.Queue[Received] = asyncio.Queue()
        self.peers: list[Peer] = []
        self.ended: asyncio.Queue[None] = asyncio.Queue()

    async def stop(self) -> None:
        await super().stop()
        for peer in self.peers:
            peer.cut()
        await asyncio.sleep(0)

    async def talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        peer = Peer(reader, writer)
        self.peers.append(peer)
        try:
            while True:
                line, headers = await peer.read_head()
                request = Received(line, headers, await reader.readexactly(int(headers.get("content-length", 0))))
                self.requests.put_nowait(request)
                await self.script(peer, request)
        finally:
            self.ended.put_nowait(None)


class World(NamedTuple):
    """A gateway and what surrounds it."""

    gateway: Gateway
    registry: FakeRegistry
    upstream: Upstream
    port: int
    peers: list[Peer]

    async def connect(self) -> Peer:
        peer = Peer(*await asyncio.open_connection("127.0.0.1", self.port))
        self.peers.append(peer)
        return peer

    async def ask(self, request: bytes) -> Answer:
        return await self.ask_on(await self.connect(), request)

    async def ask_on(self, peer: Peer, request: bytes) -> Answer:
        peer.send(request)
        return await peer.read_answer(head_only=request.startswith(b"HEAD "))


@contextlib.asynccontextmanager
async def world(
    script: Script = answer_ok,
    *,
    backends: dict[str, str] | None = None,
    server: ServerLimits | None = None,
    upstream: UpstreamLimits | None = None,
    **settings: Any,
) -> AsyncIterator[World]:
    """Start a gateway, with the stand-in upstream server as backend `a` behind the given other backends."""
    server_side = Upstream(script)
    await server_side.start()
    registry = FakeRegistry({**(backends or {}), "a": server_side.url})
    defaults = GatewaySettings(
        name="gateway-1",
        loopback=True,
        tick_s=0.01,
        server=server or ServerLimits(),
        upstream=upstream or UpstreamLimits(),
    )
    gateway = Gateway(registry, msgspec.structs.replace(defaults, **settings))
    peers: list[Peer] = []
    with socket.create_server(("127.0.0.1", 0)) as listening:
        gateway.serve(listening)
        try:
            yield World(gateway, registry, server_side, listening.getsockname()[1], peers)
        finally:
            for peer in peers:
                await peer.close()
            await gateway.drain(0)
            await server_side.stop()


def closed_port_url() -> str:
    """A URL at which nobody listens."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        return f"http://127.0.0.1:{listening.getsockname()[1]}"


def get(path: str, *fields: str, method: str = "GET", version: str = "1.1") -> bytes:
    """A request without a body."""
    lines = [f"{method} {path} HTTP/{version}", "Host: localhost", *fields, "", ""]
    return "\r\n".join(lines).encode("latin-1")


def post(body: bytes, *fields: str, path: str = "/v1/chat/completions", host: str = "localhost") -> bytes:
    """A request with a body."""
    lines = [f"POST {path} HTTP/1.1", f"Host: {host}", f"Content-Length: {len(body)}", *fields, "", ""]
    return "\r\n".join(lines).encode("latin-1") + body


CALL = post(b'{"model":"m"}')
STREAM_CALL = post(b'{"model":"m","stream":true}')
