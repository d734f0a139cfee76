"""A number in an actor of xoscar, in a process of its own. Only imported where xoscar is installed (`make bench`)."""

from __future__ import annotations

import asyncio
from typing import Any

import xoscar

from bench.processes import Peers, without_interrupts
from bench.timing import Sampler, awaited_p50_us


class Count(xoscar.Actor):  # type: ignore[misc]  # the package is not there where types are checked
    """Numbers by name."""

    def __init__(self) -> None:
        super().__init__()
        self._pending: dict[str, int] = {}

    def increment(self, id: str) -> int:
        """Add one; returns the new number."""
        pending = self._pending[id] = self._pending.get(id, 0) + 1
        return pending


def increment(peers: Peers, id: str) -> Sampler:
    """A sampler of the median time of an increment, in microseconds."""
    runner = peers.enter_context(asyncio.Runner())
    with without_interrupts():
        pool, count = runner.run(_start())
    peers.callback(lambda: runner.run(pool.stop()))
    return lambda seconds: runner.run(awaited_p50_us(lambda: count.increment(id), seconds))


async def _start() -> tuple[Any, Any]:
    pool = await xoscar.create_actor_pool("127.0.0.1", n_process=1, subprocess_start_method="spawn")
    where = xoscar.allocate_strategy.ProcessIndex(1)
    return pool, await xoscar.create_actor(Count, address=pool.external_address, allocate_strategy=where)
