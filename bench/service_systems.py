"""The servers that the services benchmark measures."""

from __future__ import annotations

import asyncio
import socket
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import psutil

from bench.http_load import Load
from bench.processes import SPAWN, Peers
from registry.config import BackendConfig, Config
from registry.kinds import LogFormat
from registry.server import serve
from registry.server_file import read_server_file

GATEWAYS = 2
START_WITHIN_S = 60.0
LOOK_EVERY_S = 0.05


class OurServer:
    """A whole `actor-registry serve`, each of its processes a real one.

    Args:
        peers: End it.
        backends: Base addresses of backends that it is told of.
        interval_s: Time between two probes of one target.
    """

    def __init__(self, peers: Peers, backends: Sequence[str] = (), interval_s: float = 30.0) -> None:
        directory = Path(peers.enter_context(tempfile.TemporaryDirectory(prefix="bench-services-")))
        settings = {
            "port": 0,
            "gateways": GATEWAYS,
            "data_dir": directory,
            "health_interval_s": interval_s,
            "backends": tuple(BackendConfig(url=url) for url in backends),
        }
        process = peers.start(_serve, settings)
        self.url = _wait_for_url(directory)
        self.port = int(self.url.rpartition(":")[2])
        self._supervisor = psutil.Process(process.pid)

    def processor_s(self) -> float:
        """Processor time that all of its processes have taken so far, in seconds."""
        processes = [self._supervisor, *self._supervisor.children(recursive=True)]
        return sum(times.user + times.system for times in (process.cpu_times() for process in processes))


def _serve(settings: dict[str, object]) -> None:
    serve(Config.model_validate(settings | {"log_format": LogFormat.JSON}))


def _wait_for_url(directory: Path) -> str:
    end = time.monotonic() + START_WITHIN_S
    while time.monotonic() < end:
        try:
            return read_server_file(directory).url
        except (OSError, ValueError):
            time.sleep(LOOK_EVERY_S)
    raise TimeoutError(f"the server was not ready after {START_WITHIN_S:.0f} s")


def aiohttp_server(peers: Peers) -> int:
    """Start the aiohttp server; returns its port."""
    with socket.create_server(("127.0.0.1", 0), backlog=128) as listening:
        peers.start(_serve_with_aiohttp, listening)
        return int(listening.getsockname()[1])


def _serve_with_aiohttp(listening: socket.socket) -> None:
    from bench import aiohttp_services  # noqa: PLC0415 - only there with `make bench`

    aiohttp_services.serve(listening)


def model_server(peers: Peers) -> int:
    """Start a server that answers every request with a list of models; returns its port."""
    ours, theirs = SPAWN.Pipe()
    with ours, theirs:
        peers.start(_answer_with_models, theirs)
        return int(ours.recv())


MODELS = b'{"object":"list","data":[{"id":"model-a","object":"model","owned_by":"bench"}]}'
_ANSWER = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nConnection: close\r\nContent-Length: %d\r\n\r\n%b" % (
    len(MODELS),
    MODELS,
)


def _answer_with_models(line: object) -> None:
    asyncio.run(_models(line))


async def _models(line: object) -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(_ANSWER)
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0, backlog=1_024)
    line.send(server.sockets[0].getsockname()[1])  # type: ignore[attr-defined]  # the end of a pipe
    await server.serve_forever()


def endless(requests: Sequence[bytes]) -> Iterator[bytes]:
    """The same ones over and over."""
    while True:
        yield from requests


def close_with(peers: Peers, load: Load) -> Load:
    """Hang up at the end."""
    peers.callback(load.close)
    return load
