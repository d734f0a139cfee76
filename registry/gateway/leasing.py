"""What a gateway needs from the registry, and one held lease."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from types import TracebackType
from typing import Protocol, Self

from actors.client import DEFAULT_TIMEOUT_S
from registry.kinds import Outcome
from registry.models import Lease


class LeasingRegistry(Protocol):
    """The part of `registry.AsyncRegistry` that the data plane uses."""

    async def acquire(
        self, model: str, *, exclude: Sequence[str] = (), wait: bool = False, timeout: float = DEFAULT_TIMEOUT_S
    ) -> Lease:
        """Choose a backend and count a request on it, in one step; wait for one that is free."""

    def release_nowait(
        self, lease: Lease, *, outcome: Outcome, latency_ms: int | None = None, first_byte_ms: int | None = None
    ) -> None:
        """Give a lease back without waiting for the owner."""

    async def get_models(self) -> list[str]:
        """The distinct models of healthy backends, sorted."""

    def count_http_error(self, code: int) -> None:
        """Count an error that the gateway itself answered with; never waits."""


class HeldLease:
    """Holds a lease as long as the `with` block runs, however it ends.

    The answer to a client does not wait until the owner knows of the release.

    Args:
        registry: Where the lease came from.
        lease: What was granted.

    Attributes:
        outcome: What is reported at the end, unless the block is cancelled.
    """

    __slots__ = ("_first_byte_ms", "_lease", "_loop", "_registry", "_since", "outcome")

    def __init__(self, registry: LeasingRegistry, lease: Lease) -> None:
        self._registry = registry
        self._lease = lease
        self._loop = asyncio.get_running_loop()
        self._since = self._loop.time()
        self._first_byte_ms: int | None = None
        # An error nobody foresaw leaves the block with this.
        self.outcome = Outcome.BROKEN

    def answered(self) -> None:
        """Note that the backend has begun to answer."""
        self._first_byte_ms = self._elapsed_ms()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if kind is not None and issubclass(kind, asyncio.CancelledError):
            self.outcome = Outcome.CANCELLED
        self._registry.release_nowait(
            self._lease, outcome=self.outcome, latency_ms=self._elapsed_ms(), first_byte_ms=self._first_byte_ms
        )

    def _elapsed_ms(self) -> int:
        return round((self._loop.time() - self._since) * 1000)
