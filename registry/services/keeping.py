"""A service that stays registered, whatever becomes of the registry."""

from __future__ import annotations

import asyncio
import logging
import math
import random
from collections.abc import Mapping
from enum import StrEnum
from types import TracebackType
from typing import Any, Self

from actors.forks import LINEAGE
from registry.errors import ServiceNotFound
from registry.services.connection import Connection
from registry.services.errors import AnswerInvalid, RegistryRefused, RegistryUnreachable, ServicesError
from registry.services.requests import Request, ServiceRequests, positive

FIRST_WAIT_S = 0.5
GROWTH = 2.0
JITTER = 0.1

logger = logging.getLogger(__name__)


class KeepState(StrEnum):
    """How it stands with a service that is kept registered."""

    STARTING = "starting"
    """Nothing was heard of the registry yet."""
    REGISTERED = "registered"
    UNREACHABLE = "unreachable"
    """The registry does not answer; it is tried again."""
    REFUSED = "refused"
    """The registry says no, or what answers there is none; it is tried again."""
    ENDED = "ended"
    """Nothing is sent any more: it was unregistered, or this process is a fork of the one that keeps it."""


class AsyncKept:
    """Keeps a service registered for the time of an `async with` block.

    It sends a heartbeat each interval. It registers the service again when the registry does not know it any more, and
    tries ever more slowly, though at least once an interval, while the registry cannot be reached. At the end of the
    block the service is unregistered. Each change for better or worse is logged once.

    Made by `AsyncServiceClient.keep`.
    """

    def __init__(
        self, connection: Connection, name: str, fields: dict[str, Any], *, interval_s: float, wait_s: float
    ) -> None:
        self.name = name
        self._connection = connection
        self._fields = fields
        self._interval_s = positive("interval_s", interval_s)
        self._wait_s = 0.0 if wait_s == 0 else math.inf if wait_s == math.inf else positive("wait_s", wait_s)
        self._state = KeepState.STARTING
        self._last_error: ServicesError | None = None
        self._generation = LINEAGE.generation
        self._task: asyncio.Task[None] | None = None
        self._wake = asyncio.Event()
        self._news = asyncio.Event()
        self._ending = False
        self._is_registering = False
        self._is_registered = False
        self._maybe_known = False
        self._alive = True
        self._version = self._told = 0
        self._failures = 0
        self._registration()  # to find out now whether the values are in their limits

    @property
    def state(self) -> KeepState:
        """How it stands."""
        # A fork of the process that keeps it sends nothing: it must not unregister what still runs.
        return self._state if self._generation == LINEAGE.generation else KeepState.ENDED

    @property
    def last_error(self) -> ServicesError | None:
        """Why the latest attempt failed; None after one that did not."""
        return self._last_error

    def change(
        self, *, status: str | None = None, metadata: Mapping[str, Any] | None = None, alive: bool | None = None
    ) -> None:
        """Have the service registered with another status or other metadata from now on; it is sent at once.

        Args:
            status: Its own word.
            metadata: Whatever else it says.
            alive: Whether heartbeats are sent from now on; they are unless it is said here that it is not alive.

        Raises:
            InvalidField: A value is out of its limits; nothing is changed.
        """
        given = {"status": status, "metadata": metadata}
        new: dict[str, Any] = {field: value for field, value in given.items() if value is not None}
        ServiceRequests.update.request(self.name, **new)
        self._fields = {**self._fields, **new}
        self._alive = self._alive if alive is None else alive
        self._version += 1
        self._wake.set()

    async def __aenter__(self) -> Self:
        """Register the service.

        Raises:
            RegistryUnreachable: The registry was not there for as long as it was to be waited for.
            RegistryRefused: It says no.
            AnswerInvalid: What is there is no service registry.
        """
        if self._task is not None:
            raise RuntimeError(f"service {self.name!r} is kept already, or was before; call keep() again")
        self._task = asyncio.create_task(self._run(), name=f"keep {self.name}")
        try:
            if self._wait_s > 0:
                await self._first_registration()
        except BaseException:  # whatever ends the wait, no heartbeats may go on
            await self.end()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.end()

    async def end(self) -> None:
        """Stop the heartbeats and unregister the service; never raises what the registry does."""
        if self._task is None or self.state is KeepState.ENDED:
            return
        self._state, self._ending = KeepState.ENDED, True
        self._wake.set()
        if not self._is_registering:  # a registration that is under way must not come after its being taken back
            self._task.cancel()
        await asyncio.wait([self._task])
        if not self._maybe_known:
            return
        try:
            await self._connection.perform(ServiceRequests.remove.request(self.name))
        except ServiceNotFound:
            pass
        except ServicesError as failure:
            self._last_error = failure
            logger.warning("service %s could not be unregistered: %s", self.name, failure)

    def abandon(self) -> None:
        """Stop the heartbeats, and leave the service to the registry, which removes it in time."""
        if self._task is not None and self.state is not KeepState.ENDED:
            self._state = KeepState.ENDED
            self._task.cancel()

    async def _first_registration(self) -> None:
        try:
            async with asyncio.timeout(None if self._wait_s == math.inf else self._wait_s):
                while self._state is not KeepState.REGISTERED:
                    await self._news.wait()
                    self._news.clear()
                    if self._is_final(self._last_error):
                        break
        except TimeoutError:
            if self._last_error is None:
                raise RegistryUnreachable(self._connection.url, f"no answer within {self._wait_s:g} s") from None
        if self._last_error is not None:
            raise self._last_error

    @staticmethod
    def _is_final(error: ServicesError | None) -> bool:
        """Whether it is no use to try the same again."""
        return isinstance(error, AnswerInvalid) or (isinstance(error, RegistryRefused) and not error.is_for_now)

    async def _run(self) -> None:
        while not self._ending:
            self._wake.clear()
            wait_s = await self._turn()
            self._news.set()
            try:
                async with asyncio.timeout(wait_s):
                    await self._wake.wait()
            except TimeoutError:
                pass

    async def _turn(self) -> float:
        """Tell the registry what it must know now; returns in how many seconds to do so again."""
        try:
            await self._tell()
        except ServicesError as error:
            self._failures += 1
            self._failed(error)
            wait_s = FIRST_WAIT_S * GROWTH ** min(self._failures - 1, 20)
            return min(wait_s, self._interval_s) * _about(1.0 - JITTER)
        self._failures = 0
        self._succeeded()
        return self._interval_s * _about(1.0)

    async def _tell(self) -> None:
        version = self._version
        if self._is_registered and version == self._told and not self._alive:
            return
        if self._is_registered:
            try:
                await self._connection.perform(self._sign_of_life(version))
                self._told = version
                return
            except ServiceNotFound:
                self._is_registered = False
                logger.warning("the registry does not know service %s any more; it is registered again", self.name)
        self._is_registering = True
        try:
            await self._connection.perform(self._registration())
        except ServicesError as error:
            if _maybe_done(error):
                self._maybe_known = True
            raise
        finally:
            self._is_registering = False
        self._is_registered = self._maybe_known = True
        self._told = version

    def _sign_of_life(self, version: int) -> Request[Any]:
        if version == self._told:
            return ServiceRequests.heartbeat.request(self.name)
        status, metadata = self._fields["status"], self._fields["metadata"]
        return ServiceRequests.update.request(self.name, status=status, metadata=metadata)

    def _registration(self) -> Request[Any]:
        return ServiceRequests.register.request(self.name, **self._fields)

    def _succeeded(self) -> None:
        if self._ending:
            return
        if self._state is not KeepState.REGISTERED:
            logger.info("service %s is registered", self.name)
        self._state, self._last_error = KeepState.REGISTERED, None

    def _failed(self, error: ServicesError) -> None:
        if self._ending:
            return
        state = KeepState.UNREACHABLE if isinstance(error, RegistryUnreachable) else KeepState.REFUSED
        if self._state is not state:
            logger.warning("service %s cannot be kept registered, it is tried again: %s", self.name, error)
        self._state, self._last_error = state, error


def _maybe_done(error: ServicesError) -> bool:
    """Whether the registry may have done what it was asked for."""
    return error.maybe_done if isinstance(error, RegistryUnreachable) else isinstance(error, AnswerInvalid)


def _about(factor: float) -> float:
    """A factor with jitter, so that the services of a machine do not all call at once."""
    return factor * random.uniform(1.0 - JITTER, 1.0 + JITTER)  # noqa: S311 - nothing secret hangs on it
