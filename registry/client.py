"""The two faces of the registry's message API."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from types import TracebackType
from typing import Any, Self, TypeVar

import msgspec

from actors.aio import AsyncClient
from actors.channel import Channel
from actors.client import DEFAULT_TIMEOUT_S, Client
from actors.errors import ActorsError, CallError, CommandError, SystemStopped
from actors.forks import Rejoin, cannot_rejoin
from actors.session import Session
from actors.statistics import OwnerStatistics, ReplicaStatistics, SessionStatistics
from registry import commands as c
from registry.kinds import Outcome
from registry.models import Change, Lease
from registry.operations import (
    NOTHING,
    AsyncFace,
    BlockingFace,
    Call,
    Operations,
    asked_of,
    release_command,
    results_of,
)
from registry.replica import RegistryReplica
from registry.state.service_records import ServiceView
from registry.watching import AsyncChanges, Changes, HistoryReading

T = TypeVar("T")

_encode = msgspec.msgpack.Encoder().encode


class Registry(Operations, BlockingFace):
    """The registry for plain code; one serves all threads of a process, and in a forked child it joins anew.

    Args:
        channel: This process's end of its queue to the owner.
        rejoin: Gives a forked child a queue of its own.
    """

    copy: RegistryReplica

    def __init__(self, channel: Channel, rejoin: Rejoin = cannot_rejoin) -> None:
        self.copy = RegistryReplica()
        self._client = Client(channel, CommandError.classes(), rejoin=rejoin, replica=self.copy.replica)
        self.copy.kept_by(self._client.refresh, self._client)

    def perform(self, call: Call[T]) -> T:
        """Ask, wait, and read the answer; every operation goes through here."""
        if call.inert:
            return call.read(NOTHING)
        return call.read(
            self._client.ask(call.command, timeout=call.timeout, changes=call.changes, on_orphan=call.on_orphan)
        )

    def sync(self, *, timeout: float = DEFAULT_TIMEOUT_S) -> None:
        """Bring this process's copy up to date: it then shows all that any process was answered before.

        From the first call on this process keeps a copy. Reads with `fresh=True` do this by themselves.

        Args:
            timeout: Longest wait in seconds.

        Raises:
            CallError: No answer; see `actors.errors`.
        """
        self._client.sync(timeout=timeout)

    def list_services(self, *, status: str | None = None, healthy: bool | None = None) -> list[ServiceView]:
        """The services that are all of what is given, as they are now, in order of their first registration.

        Args:
            status: Their own word.
            healthy: Whether it is `running` and their latest heartbeat young enough.

        Raises:
            InvalidField: An argument is of a wrong type.
        """
        self.sync()
        return self.copy.services.list(status=status, healthy=healthy)

    def batch(
        self, calls: Sequence[Call[Any]], *, atomic: bool = False, timeout: float = DEFAULT_TIMEOUT_S
    ) -> list[Any]:
        """Do several operations one after the other, with nothing of others in between, for the price of one message.

        Args:
            calls: At most 1,000, such as `Registry.add_backend.call(backend)`.
            atomic: Whether all are undone if one is refused; its error is then raised, with its place as `index`.
                Else each stands for itself.
            timeout: Longest wait in seconds.

        Returns:
            The results in order; in place of one that was refused stands its error.

        Raises:
            CallError: The whole batch was refused, or nothing is known of it; see `actors.errors`.
            InvalidField: `calls` is no list of calls.
        """
        asked = asked_of(calls)
        outcomes = self._client.batch(
            [call.command for call in asked],
            atomic=atomic,
            timeout=timeout,
            on_orphans=[call.on_orphan for call in asked],
        )
        return results_of(calls, outcomes)

    @contextmanager
    def lease(
        self, model: str, *, wait: bool = False, priority: int = 0, timeout: float = DEFAULT_TIMEOUT_S
    ) -> Iterator[Lease]:
        """Hold a lease for the length of a block; an exception in it is told as `Outcome.SERVER_ERROR`.

        The arguments and errors are those of `acquire`.
        """
        lease = self.acquire(model, wait=wait, priority=priority, timeout=timeout)
        try:
            yield lease
        except BaseException:
            self.release(lease, outcome=Outcome.SERVER_ERROR)
            raise
        self.release(lease)

    def watch(self, since: int | None = None) -> Changes:
        """Every durable change after a revision, in order, without a gap, as it is made; it never ends by itself.

        Args:
            since: The revision, such as that of a list; None for what is made from now on.

        Raises:
            Compacted: The history does not reach back that far; read everything, and go on from there.
            CommandInvalid: There is no such revision yet.
            SystemStopped: The system has stopped, or this registry was closed.
        """
        return Changes(self._client, since)

    def history(self, since: int | None = 0, limit: int = 100) -> list[Change]:
        """The durable changes after a revision, in order, at most `limit` of them (1 to 10,000).

        Args:
            since: The revision; None for the latest changes.
            limit: Most changes.

        Raises:
            Compacted: The history does not reach back that far.
            CommandInvalid: There is no such revision yet.
            InvalidField: `limit` is out of its limits.
        """
        reading = HistoryReading(since, limit)
        while reading.wanted:
            reading.take(self._client.watch(reading.since, limit=reading.wanted, wait=False))
        return reading.changes

    def statistics(self) -> SessionStatistics:
        """A snapshot of this process's session and its end of the queue."""
        return self._client.statistics()

    def owner_statistics(self) -> OwnerStatistics:
        """A snapshot of the owner: sessions, commands, refusals, how long turns and the journal take.

        Raises:
            CallError: No answer; see `actors.errors`.
        """
        return self._client.owner_statistics()

    @property
    def replica(self) -> ReplicaStatistics:
        """A snapshot of this process's copy of the registry: whether there is one, and how old it is."""
        return self.copy.statistics()

    @property
    def revision(self) -> int:
        """Number of the latest durable change that this process has heard of."""
        return self._client.session.revision

    def close(self) -> None:
        """Leave: the owner takes back all that this process holds."""
        self._client.close()

    def __repr__(self) -> str:
        return _shown(self, self._client.session)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()


class AsyncRegistry(Operations, AsyncFace):
    """The registry for asyncio and uvloop; to be made within the loop that uses it. In a forked child it joins anew.

    Args:
        channel: This process's end of its queue to the owner.
        rejoin: Gives a forked child a queue of its own.
    """

    copy: RegistryReplica

    def __init__(self, channel: Channel, rejoin: Rejoin = cannot_rejoin) -> None:
        self.copy = RegistryReplica()
        self._client = AsyncClient(channel, CommandError.classes(), rejoin=rejoin, replica=self.copy.replica)
        self.copy.kept_by(self._client.refresh)

    async def perform(self, call: Call[T]) -> T:
        """Ask, await, and read the answer; every operation goes through here."""
        if call.inert:
            return call.read(NOTHING)
        return call.read(
            await self._client.ask(call.command, timeout=call.timeout, changes=call.changes, on_orphan=call.on_orphan)
        )

    def perform_then(self, call: Call[T], then: Callable[[T | ActorsError], None]) -> None:
        """Do an operation at once, and have somebody told its result or error: that saves what a task costs.

        Args:
            call: The operation, as for `batch`.
            then: Called once, with what `perform` returns or raises; it must not raise anything.
        """
        if call.inert:
            then(call.read(NOTHING))
            return

        def read(outcome: msgspec.Raw | ActorsError) -> None:
            then(call.read(outcome) if isinstance(outcome, msgspec.Raw) else outcome)

        self._client.ask_then(call.command, read, timeout=call.timeout, changes=call.changes, on_orphan=call.on_orphan)

    def batch_then(self, calls: Sequence[Call[Any]], then: Callable[[list[Any] | ActorsError], None]) -> None:
        """Do several operations at once, as `batch` does, and have somebody told what it returns or raises.

        Args:
            calls: The operations.
            then: As for `perform_then`.
        """

        def read(outcomes: list[msgspec.Raw | CallError] | ActorsError) -> None:
            then(outcomes if isinstance(outcomes, ActorsError) else results_of(calls, outcomes))

        asked = asked_of(calls)
        on_orphans = [call.on_orphan for call in asked]
        self._client.batch_then([call.command for call in asked], read, on_orphans=on_orphans)

    async def sync(self, *, timeout: float = DEFAULT_TIMEOUT_S) -> None:
        """Bring this process's copy up to date; see `Registry.sync`. It is so in the step of the loop that follows."""
        await self._client.sync(timeout=timeout)

    async def list_services(self, *, status: str | None = None, healthy: bool | None = None) -> list[ServiceView]:
        """The services that are all of what is given, as they are now; see `Registry.list_services`."""
        await self.sync()
        return self.copy.services.list(status=status, healthy=healthy)

    async def batch(
        self, calls: Sequence[Call[Any]], *, atomic: bool = False, timeout: float = DEFAULT_TIMEOUT_S
    ) -> list[Any]:
        """Do several operations with nothing of others in between; see `Registry.batch`."""
        asked = asked_of(calls)
        outcomes = await self._client.batch(
            [call.command for call in asked],
            atomic=atomic,
            timeout=timeout,
            on_orphans=[call.on_orphan for call in asked],
        )
        return results_of(calls, outcomes)

    @asynccontextmanager
    async def lease(
        self, model: str, *, wait: bool = False, priority: int = 0, timeout: float = DEFAULT_TIMEOUT_S
    ) -> AsyncIterator[Lease]:
        """Hold a lease for the length of a block; see `Registry.lease`."""
        lease = await self.acquire(model, wait=wait, priority=priority, timeout=timeout)
        outcome = Outcome.SERVER_ERROR
        try:
            yield lease
            outcome = Outcome.OK
        finally:
            self.release_nowait(lease, outcome=outcome)

    def release_nowait(
        self,
        lease: Lease,
        *,
        outcome: Outcome = Outcome.OK,
        latency_ms: int | None = None,
        first_byte_ms: int | None = None,
    ) -> None:
        """Give a lease back without waiting for the owner; it is done exactly once all the same; see `release`."""
        if not lease.is_inherited:
            self._client.tell(_encode(release_command(lease, outcome, latency_ms, first_byte_ms)))

    def count_http_error(self, code: int) -> None:
        """Count an error that this process answered to an HTTP client, without waiting, unless the session is over."""
        with suppress(SystemStopped):
            self._client.tell(_encode(c.CountHttpError(code)))

    def watch(self, since: int | None = None) -> AsyncChanges:
        """Every durable change after a revision; see `Registry.watch`. None: from the first step of the loop on."""
        return AsyncChanges(self._client, since)

    async def history(self, since: int | None = 0, limit: int = 100) -> list[Change]:
        """The durable changes after a revision; see `Registry.history`."""
        reading = HistoryReading(since, limit)
        while reading.wanted:
            reading.take(await self._client.watch(reading.since, limit=reading.wanted, wait=False))
        return reading.changes

    def statistics(self) -> SessionStatistics:
        """A snapshot of this process's session and its end of the queue."""
        return self._client.statistics()

    async def owner_statistics(self) -> OwnerStatistics:
        """A snapshot of the owner; see `Registry.owner_statistics`."""
        return await self._client.owner_statistics()

    @property
    def replica(self) -> ReplicaStatistics:
        """A snapshot of this process's copy of the registry: whether there is one, and how old it is."""
        return self.copy.statistics()

    @property
    def revision(self) -> int:
        """Number of the latest durable change that this process has heard of."""
        return self._client.session.revision

    def close(self) -> None:
        """Leave: the owner takes back all that this process holds."""
        self._client.close()

    def __repr__(self) -> str:
        return _shown(self, self._client.session)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()


def _shown(face: Registry | AsyncRegistry, session: Session) -> str:
    which = f"session {session.number}" if session.number else "not yet greeted"
    return f"<{type(face).__name__} {which}{', closed' if session.is_closed() else ''}>"
