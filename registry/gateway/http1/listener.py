"""Accepting clients from a socket that several processes share, and leaving gracefully."""

from __future__ import annotations

import asyncio
import errno
import socket

import structlog

from registry.gateway.http1.connection import Application, ClientConnection
from registry.gateway.http1.deadlines import Deadlines
from registry.gateway.http1.heads import Heads
from registry.gateway.http1.limits import ServerLimits

# Nothing can be accepted for want of descriptors or memory: trying again at once would only burn the
# processor.
EXHAUSTED = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})
EXHAUSTED_PAUSE_S = 0.1

log = structlog.get_logger(__name__)


class Listener:
    """Accepts clients until it is told to drain.

    One client is accepted each time the loop comes round. A server that empties the whole backlog at once, as
    libuv does, leaves its sister processes with nothing when many clients come together.

    Args:
        application: What answers the requests.
        limits: What clients may send and how long they may take.
        deadlines: The process's timer.
    """

    def __init__(self, application: Application, limits: ServerLimits, deadlines: Deadlines) -> None:
        self._application = application
        self._limits = limits
        self._deadlines = deadlines
        self._loop = asyncio.get_running_loop()
        self._connections: set[ClientConnection] = set()
        self._heads = Heads()
        self._welcoming: set[asyncio.Task[None]] = set()
        self._socket: socket.socket | None = None
        self._draining = False

    @property
    def connections(self) -> int:
        """How many clients are connected."""
        return len(self._connections)

    def listen(self, listening: socket.socket) -> None:
        """Accept clients from now on.

        Args:
            listening: A bound and listening TCP socket. It stays the caller's: it is neither closed nor shut
                down here, since other processes accept from it too.
        """
        listening.setblocking(False)
        self._socket = listening
        self._loop.add_reader(listening, self._accept)

    def stop_accepting(self) -> None:
        """Leave new clients to the other processes."""
        if self._socket is not None:
            self._loop.remove_reader(self._socket)
            self._socket = None

    async def drain(self, deadline_s: float) -> int:
        """Stop accepting, close idle connections and let the others finish.

        Args:
            deadline_s: How long they have, in seconds; then they are cut off.

        Returns:
            How many connections were cut off.
        """
        self._draining = True
        self.stop_accepting()
        if self._welcoming:
            await asyncio.wait(self._welcoming)
        for connection in list(self._connections):
            connection.drain()
        open_connections = [self._loop.create_task(connection.wait_closed()) for connection in self._connections]
        if open_connections:
            await asyncio.wait(open_connections, timeout=deadline_s)
        cut_off = list(self._connections)
        for connection in cut_off:
            connection.abort()
        if open_connections:
            await asyncio.wait(open_connections)
        return len(cut_off)

    def _accept(self) -> None:
        if self._socket is None:
            return
        try:
            client, _ = self._socket.accept()
        except (BlockingIOError, InterruptedError, ConnectionAbortedError):
            return  # another process was quicker, or the client has thought better of it
        except OSError as error:
            if error.errno not in EXHAUSTED:
                raise
            log.warning("accept_failed", reason=str(error))
            listening = self._socket
            self.stop_accepting()
            self._loop.call_later(EXHAUSTED_PAUSE_S, self._listen_again, listening)
            return
        client.setblocking(False)
        task = self._loop.create_task(self._welcome(client))
        self._welcoming.add(task)
        task.add_done_callback(self._welcoming.discard)

    def _listen_again(self, listening: socket.socket) -> None:
        if not self._draining:
            self.listen(listening)

    async def _welcome(self, client: socket.socket) -> None:
        try:
            client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            await self._loop.connect_accepted_socket(self._connection, client)
        except OSError:
            client.close()  # gone before it was welcomed

    def _connection(self) -> ClientConnection:
        return ClientConnection(self._application, self._limits, self._deadlines, self._connections, self._heads)
