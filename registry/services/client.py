"""Clients of a service registry over HTTP: this project's, or any other that speaks as it does."""

from __future__ import annotations

import weakref
from collections.abc import Mapping
from types import TracebackType
from typing import Any, Self

from registry.services.connection import Connection
from registry.services.faces import AsyncFace
from registry.services.keeping import AsyncKept
from registry.services.requests import ServiceRequests

TIMEOUT_S = 10.0
INTERVAL_S = 30.0
WAIT_S = 10.0


class AsyncServiceClient(ServiceRequests, AsyncFace):
    """Speaks to a service registry over HTTP; it belongs to the event loop in which it is first used.

    Every method that asks raises:
        RegistryUnreachable: No answer came in time.
        RegistryRefused: The registry said no.
        AnswerInvalid: What came is no answer of a service registry.

    Args:
        url: Base address of the registry.
        key: Sent as a bearer token, where the registry wants one; never shown.
        timeout_s: Longest wait for each answer, in seconds.

    Raises:
        InvalidField: The address, the key or the deadline cannot be used.
    """

    def __init__(self, url: str, *, key: str | None = None, timeout_s: float = TIMEOUT_S) -> None:
        self._connection = Connection(url, key, timeout_s)
        self._kept: weakref.WeakSet[AsyncKept] = weakref.WeakSet()  # one that runs is held by its task
        self.perform = self._connection.perform  # type: ignore[method-assign]  # without a method around it

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.url!r})"

    @property
    def url(self) -> str:
        """Base address of the registry."""
        return self._connection.url

    async def close(self) -> None:
        """End what is kept registered, and close the connections."""
        for kept in list(self._kept):
            await kept.end()
        await self.disconnect()

    async def disconnect(self) -> None:
        """Close the connections only; heartbeats end, and the services are not unregistered."""
        for kept in list(self._kept):
            kept.abandon()
        await self._connection.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.close()

    def keep(
        self,
        name: str,
        *,
        port: int,
        host: str = "127.0.0.1",
        hostname: str | None = None,
        url: str | None = None,
        status: str = "running",
        metadata: Mapping[str, Any] | None = None,
        interval_s: float = INTERVAL_S,
        wait_s: float = WAIT_S,
    ) -> AsyncKept:
        """A service that is registered for the time of an `async with` block, with heartbeats in the background.

        Args:
            name: Its name.
            port: Its TCP port.
            host: Where it runs.
            hostname: Where it runs, if that is to be something else than `host`.
            url: Its base address; `http://HOST:PORT` unless given.
            status: Its own word; only `running` counts as healthy.
            metadata: Whatever else it says.
            interval_s: Time between two heartbeats, give or take a tenth.
            wait_s: How long entering the block waits for the registry to be there. With 0 it does not wait at all: the
                service is registered in the background as soon as that is possible. `math.inf`: as long as it takes.
                A registration that hangs is awaited, and taken back, within two further deadlines of the client.

        Raises:
            InvalidField: A value is out of its limits.
        """
        fields = {
            "port": port,
            "host": host,
            "hostname": hostname,
            "url": url,
            "status": status,
            "metadata": metadata,
        }
        kept = AsyncKept(self._connection, name, fields, interval_s=interval_s, wait_s=wait_s)
        self._kept.add(kept)
        return kept
