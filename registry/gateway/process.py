"""A gateway process, from its start to the end of its last stream."""

from __future__ import annotations

import asyncio
import gc
import logging
import signal
import socket

import msgspec
import uvloop

from actors.processes.child import Child
from registry.api.app import create_app
from registry.client import AsyncRegistry
from registry.gateway.app import Gateway
from registry.gateway.settings import GatewayStart
from registry.logs import configure

logger = logging.getLogger(__name__)


def run(child: Child) -> None:
    """The gateway process."""
    child.leave_with_supervisor()
    start = msgspec.msgpack.decode(child.payload, type=GatewayStart)
    configure(start.logs, child.name)
    uvloop.run(_serve(child, start))


async def _serve(child: Child, start: GatewayStart) -> None:
    assert child.channel is not None  # noqa: S101 - every worker is given one
    stopped = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stopped.set)
    registry = AsyncRegistry(child.channel)
    gateway = Gateway(registry, start.settings)
    settings = start.settings
    control = create_app(
        registry, leaving=gateway.leaving, admin_key=settings.admin_key, open_services=settings.open_services
    )
    gateway.mount(control)
    with socket.socket(fileno=child.fds[0]) as listening:
        gateway.serve(listening)
        gc.freeze()  # what was made for the start stays: the collector need not walk through it again and again
        child.ready()
        await stopped.wait()
        cut_off = await gateway.drain(start.drain_s)
        if cut_off:
            logger.warning("%d connections were cut off after %.0f s", cut_off, start.drain_s)
    registry.close()
