"""The discovery process: registers the named backends and keeps asking all of them."""

from __future__ import annotations

import asyncio
import logging
import signal

import msgspec

from actors.errors import ActorsError
from actors.processes.child import Child
from registry.client import AsyncRegistry
from registry.discovery.static import ModelWatch, http_client, reconcile
from registry.logs import LogSettings, configure
from registry.models import Backend

logger = logging.getLogger(__name__)


class DiscoveryStart(msgspec.Struct, frozen=True):
    """The payload of the discovery process.

    Attributes:
        backends: The named backends, each as the JSON of a `Backend`.
        api_keys: The key of each backend that needs one, by URL.
        refresh_s: Time between two rounds of questions, in seconds.
        logs: How it logs.
    """

    backends: list[str]
    api_keys: dict[str, str]
    refresh_s: float
    logs: LogSettings

    def __repr__(self) -> str:
        # Keys must not reach a log by way of a traceback or a debug line.
        return f"DiscoveryStart({len(self.backends)} backends)"


def run(child: Child) -> None:
    """The discovery process."""
    child.leave_with_supervisor()
    start = msgspec.msgpack.decode(child.payload, type=DiscoveryStart)
    configure(start.logs, child.name)
    asyncio.run(_watch(child, start))


async def _watch(child: Child, start: DiscoveryStart) -> None:
    assert child.channel is not None  # noqa: S101 - every worker is given one
    stopped = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stopped.set)
    registry = AsyncRegistry(child.channel)
    named = [Backend.model_validate_json(text) for text in start.backends]
    async with http_client() as client:
        watch = ModelWatch(registry, client, start.api_keys)
        rounds = asyncio.create_task(_rounds(child, registry, watch, named, start.refresh_s))
        stop = asyncio.create_task(stopped.wait())
        await asyncio.wait([rounds, stop], return_when=asyncio.FIRST_COMPLETED)
        if rounds.done():
            rounds.result()  # it ends by an error only
        rounds.cancel()
    registry.close()


async def _rounds(
    child: Child, registry: AsyncRegistry, watch: ModelWatch, named: list[Backend], refresh_s: float
) -> None:
    while not await _reconciled(registry, named):  # noqa: ASYNC110 - nothing tells when the owner is back
        await asyncio.sleep(refresh_s)
    await watch.ask_all()
    child.ready()
    while True:
        await asyncio.sleep(refresh_s)
        await watch.ask_all()


async def _reconciled(registry: AsyncRegistry, named: list[Backend]) -> bool:
    try:
        await reconcile(registry, named)
    except ActorsError as error:
        logger.warning("the named backends could not be registered yet: %s", error)
        return False
    return True
