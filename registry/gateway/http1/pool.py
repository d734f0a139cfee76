"""Connections to upstream servers kept open, and one exchange over them."""

from __future__ import annotations

import asyncio
from functools import partial

from registry.gateway.http1.connector import Connector
from registry.gateway.http1.deadlines import Deadlines
from registry.gateway.http1.endpoint import Endpoint
from registry.gateway.http1.limits import UpstreamLimits
from registry.gateway.http1.upstream import UpstreamConnection
from registry.gateway.http1.upstream_errors import AnswerBroken, ConnectTimeout


class UpstreamPool:
    """Opens connections to upstream servers and keeps the unused ones for later.

    There is no limit on connections in use: how many requests a server gets is decided where all processes'
    requests are counted, not here.

    Args:
        limits: How long servers may take and how many unused connections are kept.
        deadlines: The process's timer.
        connector: Opens connections, where that is allowed.
    """

    def __init__(self, limits: UpstreamLimits, deadlines: Deadlines, connector: Connector) -> None:
        self._limits = limits
        self._deadlines = deadlines
        self._connector = connector
        self._loop = asyncio.get_running_loop()
        self._idle: dict[Endpoint, list[UpstreamConnection]] = {}

    async def exchange(self, endpoint: Endpoint, head: bytes, body: bytes) -> UpstreamConnection:
        """Send a request and wait for the head of its answer.

        A kept connection that turns out to be closed before any byte of an answer is replaced by a fresh one,
        once: the server closed it because it was idle, before it saw the request.

        Args:
            endpoint: Where the server is.
            head: Request line and header fields, up to and with the empty line.
            body: The content.

        Returns:
            The connection, of which the caller reads the body and which it then gives back with `give_back`.

        Raises:
            Unreachable: There is no connection; nothing was sent.
            AnswerTimeout: No answer began in time.
            AnswerBroken: The connection was lost before the head was whole.
        """
        kept = self._take(endpoint)
        if kept is not None:
            try:
                return await kept.exchange(head, body)
            except AnswerBroken as error:
                if error.begun:
                    raise
        return await (await self._connect(endpoint)).exchange(head, body)

    def give_back(self, endpoint: Endpoint, connection: UpstreamConnection) -> None:
        """Keep a connection whose answer was read to the end; close any other at once.

        Args:
            endpoint: Where the connection leads.
            connection: As returned by `exchange`, used no more by the caller.
        """
        if connection.reusable and len(self._idle.get(endpoint, ())) < self._limits.max_idle:
            connection.rest(self._loop.time())
            self._idle.setdefault(endpoint, []).append(connection)
        else:
            connection.abort()

    def close(self) -> None:
        """Close all unused connections."""
        for idle in list(self._idle.values()):
            for connection in list(idle):
                connection.abort()

    def _take(self, endpoint: Endpoint) -> UpstreamConnection | None:
        idle = self._idle.get(endpoint)
        if not idle:
            return None
        # The one used last is the one least likely to have been closed by the server meanwhile.
        connection = idle.pop()
        if not idle:
            del self._idle[endpoint]  # a server that is never used again leaves nothing behind
        return connection

    def _drop(self, endpoint: Endpoint, connection: UpstreamConnection) -> None:
        idle = self._idle.get(endpoint)
        if idle is None or connection not in idle:
            return  # lost before its first use: the client left while it was being opened
        idle.remove(connection)
        if not idle:
            del self._idle[endpoint]

    async def _connect(self, endpoint: Endpoint) -> UpstreamConnection:
        try:
            async with asyncio.timeout(self._limits.connect_timeout_s):
                return await self._connector.connect(
                    endpoint, lambda: UpstreamConnection(self._limits, self._deadlines, partial(self._drop, endpoint))
                )
        except TimeoutError:
            raise ConnectTimeout(endpoint, f"not within {self._limits.connect_timeout_s:g} s") from None
