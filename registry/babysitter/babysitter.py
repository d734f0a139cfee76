"""The babysitter: one life of an AI server after the other, until it is told to stop."""

from __future__ import annotations

import asyncio
import logging
import os
import random
import signal
import time
from contextlib import AsyncExitStack
from datetime import UTC, datetime
from typing import Any

from actors.exits import Exit, signal_name
from actors.processes.signals import HURRY_AFTER_S
from registry.babysitter import guardian
from registry.babysitter.asking import Asker
from registry.babysitter.child import Child, Order
from registry.babysitter.entries import Entries, own_metadata
from registry.babysitter.errors import CannotListen, CannotStart, GaveUp
from registry.babysitter.life import Life
from registry.babysitter.pages import Pages
from registry.babysitter.ports import is_taken
from registry.babysitter.restarts import RestartBudget, RestartRules
from registry.babysitter.settings import Settings
from registry.babysitter.standing import Phase, Standing
from registry.services.client import AsyncServiceClient

STOP_S = 10.0
"""How long the server may take to end when it is told to; then it is killed."""

KILL_S = 5.0
"""How long the kernel may take to end what was killed."""

FAREWELL_S = 2.0
"""How long the server may go on while the registry is told that it will not; then it gets no more requests."""

LEAVING_S = 2.0
"""How long a port may still be in use by a program that is just leaving."""

REGISTRY_TIMEOUT_S = 5.0

_LOOK_S = 0.05

logger = logging.getLogger(__name__)


def babysit(settings: Settings, key: str | None, secrets: frozenset[str]) -> None:
    """Keep an AI server running until a signal says to stop; to be called in the main thread.

    Args:
        settings: What is to be done.
        key: The registry's admin key, if it has one.
        secrets: Names of variables of the environment that the server must not see.

    Raises:
        CannotStart: The command cannot be run.
        CannotListen: The server's port or the babysitter's own is in use.
        GaveUp: The server has failed too often.
        InvalidField: The key cannot be used.
    """
    if settings.is_out_of_reach:
        logger.warning(
            "%s is registered at %s, where the registry %s may not find it; name this machine by --host",
            settings.name, settings.address, settings.registry,
        )  # fmt: skip
    guardian.adopt_orphans()
    asyncio.run(_babysit(settings, key, secrets))


async def _babysit(settings: Settings, key: str | None, secrets: frozenset[str]) -> None:
    cwd = None if settings.work_dir is None else str(settings.work_dir)
    order = Order(settings.argv(), cwd, settings.environment(os.environ, secrets))
    metadata = own_metadata(settings, datetime.now(UTC).isoformat())
    standing = Standing()
    async with AsyncExitStack() as at_end:
        client = AsyncServiceClient(settings.registry, key=key, timeout_s=REGISTRY_TIMEOUT_S)
        at_end.push_async_callback(client.close)
        babysitter = Babysitter(settings, order, standing, Entries(client, settings, metadata))
        pages = Pages(settings, standing, metadata, lambda: babysitter.asker)
        pages.serve()
        at_end.push_async_callback(pages.close)
        await babysitter.run()


class Babysitter:
    """Starts a server again and again.

    Args:
        settings: What it was told.
        order: What is run.
        standing: Where it is written down how it stands.
        entries: Those of the registry.

    Attributes:
        asker: Asks the present life; None between two.
    """

    def __init__(self, settings: Settings, order: Order, standing: Standing, entries: Entries) -> None:
        self._settings = settings
        self._order = order
        self._standing = standing
        self._entries = entries
        rules = RestartRules(settings.max_restarts, settings.restart_delay_s)
        self._budget = RestartBudget(rules, random.Random())  # noqa: S311 - it only spreads restarts
        self._stopping = asyncio.Event()
        self._hurry = asyncio.Event()
        self._leaving: asyncio.Task[None] | None = None
        self.asker: Asker | None = None

    async def run(self) -> None:
        """Go on until a signal says to stop.

        Raises:
            CannotStart: The command cannot be run.
            CannotListen: The server's port is in use.
            GaveUp: The server has failed too often.
        """
        settings = self._settings
        self._obey_signals()
        if not await self._port_is_free():
            if self._stopping.is_set():
                return
            reason = "is in use by another program, and the AI server is to listen there; choose another --port"
            raise CannotListen(settings.port, reason)
        logger.info(
            "babysitting %s: the server on port %d, its /health on %s; the registry is %s",
            settings.name, settings.port, settings.url(settings.own_port), settings.registry,
        )  # fmt: skip
        await self._entries.tell(self._standing)
        try:
            while (failure := await self._life()) is not None and not self._stopping.is_set():
                await self._before_next(*failure)
        finally:
            self._leave()
            await self._or_hurry(self._leaving, None)

    async def _life(self) -> tuple[str, float] | None:
        """One life of the server; returns how it failed and how long it had answered, None if it was told to stop."""
        standing = self._standing
        if standing.restarts and not await self._port_is_free():
            return self._failed(f"cannot listen: port {self._settings.port} is in use by another program"), 0.0
        try:
            child = await Child.start(self._order)
        except CannotStart as error:
            if not standing.restarts:
                raise
            return self._failed(f"cannot be started: {error.reason}"), 0.0
        logger.info("%s was started (pid %d)", self._settings.server_name, child.pid)
        standing.alive = True
        # One answer that is late is not yet a server that hangs.
        timeout_s = min(Asker.TIMEOUT_S, self._settings.hang_timeout_s / 3)
        async with Asker(self._settings.asked_at, self._settings.port, timeout_s) as asker:
            life = Life(self._settings, asker, standing, lambda: self._entries.tell(standing))
            self.asker = asker
            try:
                failure = await self._end_of(child, life)
                await self._down(failure)
            finally:
                self.asker = None
                standing.alive = False
                await self._end(child)
        return None if failure is None else (failure, life.answered_s)

    async def _end_of(self, child: Child, life: Life) -> str | None:
        """Wait until the life must end or has; returns how it failed, None if it was told to stop."""
        watch = asyncio.create_task(life.watch())
        stop = asyncio.create_task(self._stopping.wait())
        try:
            ends: set[asyncio.Future[Any]] = {watch, stop, child.ended}
            await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
            if stop.done():
                return None
            return _in_words(child.ended.result()) if child.ended.done() else watch.result()
        finally:
            watch.cancel()
            stop.cancel()

    async def _down(self, failure: str | None) -> None:
        """Tell the registry before the server is ended, so that it gets no more requests."""
        if failure is None:
            self._standing.phase = Phase.STOPPING
            self._leave()
            await self._or_hurry(self._leaving, FAREWELL_S)
        else:
            self._failed(failure)
            self._standing.phase = Phase.RESTARTING
            await self._entries.tell(self._standing)

    async def _end(self, child: Child) -> None:
        if not child.ended.done():
            child.terminate()
        gone = asyncio.create_task(child.gone())
        await self._or_hurry(gone, STOP_S)
        if not gone.done():
            child.kill()
            await asyncio.wait([gone], timeout=KILL_S)
            if not gone.done():
                logger.error("processes of %s cannot be killed; the kernel holds them", self._settings.server_name)

    def _failed(self, failure: str) -> str:
        logger.warning("%s %s", self._settings.server_name, failure)
        return failure

    async def _before_next(self, failure: str, answered_s: float) -> None:
        """Wait for the time of the next life."""
        delay_s = self._budget.next_delay(answered_s)
        if delay_s is None:
            raise GaveUp(self._settings.name, self._budget.in_a_row, failure)
        logger.info(
            "%s is started again in %.1f s (restart %d of %d)",
            self._settings.server_name, delay_s, self._budget.in_a_row, self._settings.max_restarts,
        )  # fmt: skip
        self._standing.restarts += 1
        await asyncio.wait([stop := asyncio.create_task(self._stopping.wait())], timeout=delay_s)
        stop.cancel()

    async def _port_is_free(self) -> bool:
        """Whether the server can have its port; a program that is just leaving is waited for."""
        until_s = time.monotonic() + LEAVING_S
        while is_taken(self._settings.port):
            if time.monotonic() > until_s or self._stopping.is_set():
                return False
            await asyncio.sleep(_LOOK_S)
        return True

    def _leave(self) -> None:
        """Unregister, once."""
        if self._leaving is None:
            self._leaving = asyncio.create_task(self._entries.leave())

    async def _or_hurry(self, task: asyncio.Task[None] | None, timeout_s: float | None) -> None:
        """Wait for a task, but no longer than somebody wants."""
        assert task is not None  # noqa: S101 - made just before
        hurry = asyncio.create_task(self._hurry.wait())
        await asyncio.wait({task, hurry}, timeout=timeout_s, return_when=asyncio.FIRST_COMPLETED)
        hurry.cancel()

    def _obey_signals(self) -> None:
        """Stop on SIGTERM, SIGINT and SIGHUP, and hurry on the next one."""
        name = self._settings.name
        first_s: float | None = None

        def wanted(number: int) -> None:
            nonlocal first_s
            now_s = time.monotonic()
            if first_s is None:
                first_s = now_s
                logger.info("received %s: unregistering %s and ending its server", signal_name(number), name)
                self._stopping.set()
            elif now_s >= first_s + HURRY_AFTER_S:
                self._hurry.set()

        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            loop.add_signal_handler(number, wanted, number)


def _in_words(end: Exit | None) -> str:
    if end is None:
        return "was killed together with its guardian"
    return f"was {end}" if end.signal is not None else f"ended by itself ({end})"
