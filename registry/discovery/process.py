"""The discovery process: registers the backends that the operator named."""

from __future__ import annotations

import asyncio
import logging
import signal

import msgspec

from actors.errors import ActorsError
from actors.processes.child import Child
from registry.client import AsyncRegistry
from registry.discovery.static import reconcile
from registry.logs import LogSettings, configure
from registry.models import Backend

logger = logging.getLogger(__name__)

AGAIN_S = 1.0
"""Time until the next attempt, when the owner could not do it."""


class DiscoveryStart(msgspec.Struct, frozen=True):
    """The payload of the discovery process.

    Attributes:
        backends: The named backends, each as the JSON of a `Backend`.
        logs: How it logs.
    """

    backends: list[str]
    logs: LogSettings


def run(child: Child) -> None:
    """The discovery process."""
    child.leave_with_supervisor()
    start = msgspec.msgpack.decode(child.payload, type=DiscoveryStart)
    configure(start.logs, child.name)
    asyncio.run(_discover(child, start))


async def _discover(child: Child, start: DiscoveryStart) -> None:
    assert child.channel is not None  # noqa: S101 - every worker is given one
    stopped = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stopped.set)
    registry = AsyncRegistry(child.channel)
    named = [Backend.model_validate_json(text) for text in start.backends]
    registering = asyncio.create_task(_register(child, registry, named))
    stop = asyncio.create_task(stopped.wait())
    await asyncio.wait([registering, stop], return_when=asyncio.FIRST_COMPLETED)
    if registering.done():
        registering.result()  # an error that nobody foresaw ends the process, which is started again
    registering.cancel()
    await stop
    registry.close()


async def _register(child: Child, registry: AsyncRegistry, named: list[Backend]) -> None:
    while not await _reconciled(registry, named):  # noqa: ASYNC110 - nothing tells when the owner is back
        await asyncio.sleep(AGAIN_S)
    child.ready()


async def _reconciled(registry: AsyncRegistry, named: list[Backend]) -> bool:
    try:
        await reconcile(registry, named)
    except ActorsError as error:
        logger.warning("the named backends could not be registered yet: %s", error)
        return False
    return True
