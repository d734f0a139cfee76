"""The health checker process: the only one that asks backends and services how they are."""

from __future__ import annotations

import asyncio
import contextlib
import signal

import msgspec
import uvloop

from actors.processes.child import Child
from registry.addresses import AddressRules
from registry.client import AsyncRegistry
from registry.health.checker import Checker
from registry.health.prober import Prober
from registry.health.start import HealthStart
from registry.logs import configure

QUIET_S = 0.3
"""Nothing to probe for so long after the start means that there is nothing yet, if nobody has named a backend."""

SETTLED_S = 0.05
"""Nothing more to probe for so long means that this was all, in seconds."""

FIRST_FINDINGS_S = 2.0
"""How long the start of a server may wait for the first findings, in seconds."""


def run(child: Child) -> None:
    """The health checker process."""
    child.leave_with_supervisor()
    start = msgspec.msgpack.decode(child.payload, type=HealthStart)
    configure(start.logs, child.name)
    uvloop.run(_check(child, start))


async def _check(child: Child, start: HealthStart) -> None:
    assert child.channel is not None  # noqa: S101 - every worker is given one
    stopped = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stopped.set)
    registry = AsyncRegistry(child.channel)
    prober = Prober(AddressRules.of(start.addresses), start.api_keys, start.timeout_s, start.pseudonym)
    checker = Checker(registry, prober.probe)
    named = bool(start.addresses.exempt)
    checking = asyncio.create_task(checker.run())
    announcing = asyncio.create_task(_announce(child, checker, FIRST_FINDINGS_S if named else QUIET_S))
    stop = asyncio.create_task(stopped.wait())
    await asyncio.wait([checking, stop], return_when=asyncio.FIRST_COMPLETED)
    if checking.done():
        checking.result()  # it ends by an error only
    # What is being probed is broken off with the loop; the owner hands it out again.
    announcing.cancel()
    checking.cancel()
    registry.close()


async def _announce(child: Child, checker: Checker, quiet_s: float) -> None:
    """Say that this process works when the first findings are there, so that what is alive is routable then."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(FIRST_FINDINGS_S):
            async with asyncio.timeout(quiet_s):
                await checker.begun.wait()
            while not await _is_settled(checker):
                pass
    child.ready()


async def _is_settled(checker: Checker) -> bool:
    """Whether nothing follows at once when all that was begun is found out: backends are registered one by one."""
    await checker.idle.wait()
    await asyncio.sleep(SETTLED_S)
    return checker.idle.is_set()
