"""Takes what is to be probed from the owner, probes it, and reports what was found."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from typing import Protocol

from actors.clock import Clock, SystemClock
from actors.errors import ActorsError, CallTimeout, SystemStopped
from registry.health.findings import Finding, readable
from registry.kinds import BackendStatus
from registry.models import Model
from registry.state.probe_records import ProbeOrder

logger = logging.getLogger(__name__)

BACKGROUND_AT_ONCE = 1_000
"""Probes that nobody waits for, at the same time: so many hung targets delay nobody."""

URGENT_AT_ONCE = 64
"""Probes that somebody waits for, besides those: hung targets must not keep them waiting."""

RETRY_S = 1.0
"""Pause after the owner has refused to say what is to be probed, in seconds."""


class ProbingRegistry(Protocol):
    """What a health checker needs of the registry; see `registry.operations.probes`."""

    async def next_probes(self, most: int, *, urgent_only: bool = False) -> list[ProbeOrder]:
        """What is to be probed."""

    async def report_probe(
        self,
        number: int,
        status: BackendStatus,
        *,
        error: str | None = None,
        latency_ms: int | None = None,
        models: Sequence[Model] | None = None,
        retry_after_s: float | None = None,
    ) -> None:
        """Say what a probe has found."""


class _Lane:
    """Some places for probes.

    Args:
        places: How many probes at the same time.
        urgent_only: Whether they are for what somebody waits for.
    """

    def __init__(self, places: int, *, urgent_only: bool) -> None:
        self.free = places
        self.urgent_only = urgent_only
        self.has_room = asyncio.Event()
        self.has_room.set()

    def take(self) -> None:
        """Use a place."""
        self.free -= 1
        if self.free <= 0:
            self.has_room.clear()

    def give_back(self) -> None:
        """Use it no more."""
        self.free += 1
        self.has_room.set()


class Checker:
    """Probes whatever the owner says is due; it keeps no state about anything, so a successor just goes on.

    Must be made within a running event loop.

    Args:
        registry: Says what is to be probed, and is told what was found.
        probe: Probes it; it must come to an end by itself.
        background: Most probes at the same time that nobody waits for.
        urgent: Most probes besides those that somebody waits for.
        clock: Says whether it is too late for an order; the machine's unless given.

    Attributes:
        begun: Set when there was something to probe.
        idle: Set while nothing is being probed.
    """

    def __init__(
        self,
        registry: ProbingRegistry,
        probe: Callable[[ProbeOrder], Awaitable[Finding]],
        *,
        background: int = BACKGROUND_AT_ONCE,
        urgent: int = URGENT_AT_ONCE,
        clock: Clock | None = None,
    ) -> None:
        self._registry = registry
        self._probe = probe
        self._clock = clock or SystemClock()
        self._lanes = [_Lane(background, urgent_only=False), _Lane(urgent, urgent_only=True)]
        self._running: set[asyncio.Task[None]] = set()
        self.begun = asyncio.Event()
        self.idle = asyncio.Event()
        self.idle.set()

    async def run(self) -> None:
        """Go on until the session with the owner is over.

        Raises:
            SystemStopped: It is.
        """
        await asyncio.gather(*(self._serve(lane) for lane in self._lanes))

    async def _serve(self, lane: _Lane) -> None:
        while True:
            await lane.has_room.wait()
            for order in await self._orders(lane):
                if self._clock.monotonic() > order.begin_until_s:
                    continue  # this process was stopped for so long that the owner hands it out again
                lane.take()
                task = asyncio.create_task(self._do(order, lane))
                self._running.add(task)
                task.add_done_callback(self._ended)
            if self._running:
                self.begun.set()
                self.idle.clear()

    async def _orders(self, lane: _Lane) -> list[ProbeOrder]:
        try:
            return await self._registry.next_probes(lane.free, urgent_only=lane.urgent_only)
        except CallTimeout:
            return []  # there was nothing, or nobody to say so
        except SystemStopped:
            raise
        except ActorsError as error:
            logger.warning("the owner does not say what is to be probed: %s", error)
            await asyncio.sleep(RETRY_S)
            return []

    async def _do(self, order: ProbeOrder, lane: _Lane) -> None:
        try:
            await self._report(order, await self._find(order))
        finally:
            lane.give_back()

    async def _find(self, order: ProbeOrder) -> Finding:
        try:
            return await self._probe(order)
        except Exception as error:  # one target that nobody foresaw must not end the probes of all the others
            logger.exception("the probe of %s %s failed", order.target, readable(order.name))
            return Finding(status=BackendStatus.UNHEALTHY, error=f"the probe itself failed: {type(error).__name__}")

    async def _report(self, order: ProbeOrder, finding: Finding) -> None:
        try:
            await self._registry.report_probe(
                order.number,
                finding.status,
                error=finding.error,
                latency_ms=finding.latency_ms,
                models=finding.models,
                retry_after_s=finding.retry_after_s,
            )
        except ActorsError as error:
            # The owner hands the order out again when it has waited for too long.
            logger.warning("what was found of %s %s could not be noted: %s", order.target, readable(order.name), error)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._running.discard(task)
        if not self._running:
            self.idle.set()
