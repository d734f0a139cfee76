"""A gateway with its control plane as a worker process; in a module of its own, since the worker imports it by name."""

from __future__ import annotations

import asyncio
import socket
from contextlib import suppress
from pathlib import Path

from registry import AsyncRegistry
from registry.api.app import create_app
from registry.errors import CallTimeout
from registry.gateway.app import Gateway
from registry.gateway.settings import GatewaySettings
from registry.kinds import BackendStatus, Target


async def serve(registry: AsyncRegistry, notes: str, admin_key: str | None) -> None:
    """Serve on a free port until the end, and note the address in a file."""
    gateway = Gateway(registry, GatewaySettings(name="gateway-1", loopback=True, admin_key=admin_key))
    gateway.mount(create_app(registry, leaving=gateway.leaving, admin_key=admin_key))
    with socket.create_server(("127.0.0.1", 0)) as listening:
        listening.setblocking(False)
        gateway.serve(listening)
        note(Path(notes), f"http://127.0.0.1:{listening.getsockname()[1]}")
        await asyncio.Event().wait()


async def answer_probes(registry: AsyncRegistry) -> None:
    """Find every service healthy, in place of a health checker; backends are left to the tests."""
    while True:
        with suppress(CallTimeout):
            for order in await registry.next_probes(100):
                if order.target is Target.SERVICE:
                    await registry.report_probe(order.number, BackendStatus.HEALTHY)


def note(path: Path, address: str) -> None:
    """Write a file that is there whole or not at all."""
    written = path.with_suffix(".new")
    written.write_text(address, encoding="ascii")
    written.rename(path)
