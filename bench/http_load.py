"""Requests over a few connections, as fast as they are answered, for as little processor time as plain Python can."""

from __future__ import annotations

import select
import socket
import time
from collections.abc import Iterator

from bench.timing import Sampler

CONNECTIONS = 8

SILENT_S = 20.0
"""A server that answers nothing for so long is stuck."""

_ROOM = 1024 * 1024


class _Client:
    """One connection with one request under way."""

    def __init__(self, port: int) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._room = bytearray(_ROOM)
        self._missing = 0
        self._begun = False
        self.sent_ns = 0

    def send(self, request: bytes) -> None:
        """Begin a request."""
        self._begun = False
        self.sent_ns = time.perf_counter_ns()
        self.socket.sendall(request)

    def receive(self) -> bool:
        """Take what has come; whether the answer is whole.

        Raises:
            ConnectionError: The server has hung up, or answered anything but a success.
        """
        count = self.socket.recv_into(self._room)
        if not count:
            raise ConnectionError("the server has hung up")
        if not self._begun:
            self._begun = True
            head_end = self._room.find(b"\r\n\r\n", 0, count) + 4
            head = bytes(self._room[:head_end])
            if head[9:10] != b"2" or head_end < 4:
                raise ConnectionError(f"the server answered {head[:100]!r}")
            length = head.lower().partition(b"content-length:")[2].partition(b"\r\n")[0]
            self._missing = head_end + int(length)
        self._missing -= count
        return self._missing == 0


class Load:
    """Requests to one server over `CONNECTIONS` connections.

    Args:
        port: Where the server listens on this machine.

    Attributes:
        latencies_ns: How long each request took, in nanoseconds, by what was measured.
    """

    def __init__(self, port: int) -> None:
        self._port = port
        self._clients: dict[int, _Client] = {}
        self._epoll = select.epoll()
        self.latencies_ns: dict[str, list[int]] = {}

    def _connect_anew(self) -> None:
        """Each sample has connections of its own: how a server spreads them over its processes makes a difference."""
        for client in self._clients.values():
            client.socket.close()
        self._clients = {client.socket.fileno(): client for client in (_Client(self._port) for _ in range(CONNECTIONS))}
        for fd in self._clients:
            self._epoll.register(fd, select.EPOLLIN)

    def a_second(self, name: str, requests: Iterator[bytes]) -> Sampler:
        """A sampler of the requests that are answered in a second.

        Args:
            name: Under which the latencies are kept.
            requests: What is sent, without an end.
        """
        taken = self.latencies_ns.setdefault(name, [])

        def sample(seconds: float) -> float:
            self._connect_anew()
            count = 0
            start = time.perf_counter_ns()
            end = now = start + int(seconds * 1e9)
            for client in self._clients.values():
                client.send(next(requests))
            waiting = len(self._clients)
            while waiting:
                ready = self._epoll.poll(SILENT_S)
                if not ready:
                    raise TimeoutError(f"the server answered nothing for {SILENT_S:.0f} s")
                for fd, _ in ready:
                    client = self._clients[fd]
                    if not client.receive():
                        continue
                    now = time.perf_counter_ns()
                    taken.append(now - client.sent_ns)
                    count += 1
                    if now < end:
                        client.send(next(requests))
                    else:
                        waiting -= 1
            return count / (now - start) * 1e9

        return sample

    def close(self) -> None:
        """Hang up."""
        self._epoll.close()
        for client in self._clients.values():
            client.socket.close()
