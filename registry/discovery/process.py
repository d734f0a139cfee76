"""The discovery process: registers the named backends and keeps asking all of them."""

from __future__ import annotations

import asyncio
import signal

import msgspec

from actors.child import Child
from registry.client import AsyncRegistry
from registry.discovery.static import ModelWatch, http_client, reconcile
from registry.logs import LogSettings, configure
from registry.models import Backend


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
    await reconcile(registry, [Backend.model_validate_json(text) for text in start.backends])
    async with http_client() as client:
        watch = ModelWatch(registry, client, start.api_keys)
        await watch.ask_all()
        child.ready()
        while not await _happens(stopped, start.refresh_s):
            await watch.ask_all()
    registry.close()


async def _happens(event: asyncio.Event, within_s: float) -> bool:
    try:
        async with asyncio.timeout(within_s):
            await event.wait()
    except TimeoutError:
        return False
    return True
