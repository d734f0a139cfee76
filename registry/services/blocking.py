"""The client of a service registry for programs without an event loop."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from types import TracebackType
from typing import Any, Self, TypeVar

from actors.forks import LINEAGE
from registry.services.client import INTERVAL_S, TIMEOUT_S, WAIT_S, AsyncServiceClient
from registry.services.errors import ServicesError
from registry.services.faces import BlockingFace
from registry.services.keeping import AsyncKept, KeepState
from registry.services.loop_thread import LoopThread
from registry.services.requests import Request, ServiceRequests

T = TypeVar("T")


class ServiceClient(ServiceRequests, BlockingFace):
    """Speaks to a service registry over HTTP; any thread may use it, and it needs no event loop.

    What it sends is sent by one thread of its own. A process that is forked gets connections of its own with its first
    call; what its parent keeps registered stays the parent's.

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
        self._make = functools.partial(AsyncServiceClient, url, key=key, timeout_s=timeout_s)
        self._parents: list[object] = []
        self._renew()
        LINEAGE.watch(self)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.url!r})"

    @property
    def url(self) -> str:
        """Base address of the registry."""
        return self._client.url

    def perform(self, request: Request[T]) -> T:
        """Send a request, wait, and read the answer."""
        return self._thread.run(lambda: self._client.perform(request))

    def close(self) -> None:
        """End what is kept registered, close the connections, and end the thread."""
        if self._thread.is_used:
            self._thread.run(self._client.close)
        self._thread.stop()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def forked(self) -> None:
        """This process was just forked: the thread, the loop and the connections are its parent's."""
        # They are kept for good: what a loop does at its end would reach the parent's through shared descriptors.
        self._parents += [self._thread, self._client]
        self._renew()

    def _renew(self) -> None:
        self._client = self._make()
        self._thread = LoopThread(self._client.disconnect)

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
    ) -> Kept:
        """A service that is registered for the time of a `with` block; see `AsyncServiceClient.keep`."""
        kept = self._client.keep(
            name,
            port=port,
            host=host,
            hostname=hostname,
            url=url,
            status=status,
            metadata=metadata,
            interval_s=interval_s,
            wait_s=wait_s,
        )
        return Kept(kept, self._thread)


class Kept:
    """Keeps a service registered for the time of a `with` block; see `AsyncKept`.

    Made by `ServiceClient.keep`.
    """

    def __init__(self, kept: AsyncKept, thread: LoopThread) -> None:
        self._kept = kept
        self._thread = thread

    @property
    def name(self) -> str:
        """The service's name."""
        return self._kept.name

    @property
    def state(self) -> KeepState:
        """How it stands."""
        return self._kept.state

    @property
    def last_error(self) -> ServicesError | None:
        """Why the latest attempt failed; None after one that did not."""
        return self._kept.last_error

    def change(
        self, *, status: str | None = None, metadata: Mapping[str, Any] | None = None, alive: bool | None = None
    ) -> None:
        """Have the service registered with another status or other metadata from now on; see `AsyncKept.change`."""

        async def change() -> None:
            self._kept.change(status=status, metadata=metadata, alive=alive)

        self._thread.run(change)

    def end(self) -> None:
        """Stop the heartbeats and unregister the service; never raises what the registry does."""
        if self._kept.state is not KeepState.ENDED and self._thread.is_used:
            self._thread.run(self._kept.end)

    def __enter__(self) -> Self:
        self._thread.run(self._kept.__aenter__)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.end()
