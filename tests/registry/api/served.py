"""A gateway with its control plane as a worker process; in a module of its own, since the worker imports it by name."""

from __future__ import annotations

import asyncio
import socket
from pathlib import Path

from registry import AsyncRegistry
from registry.api.app import create_app
from registry.gateway.app import Gateway
from registry.gateway.settings import GatewaySettings


async def serve(registry: AsyncRegistry, notes: str, admin_key: str | None) -> None:
    """Serve on a free port until the end, and note the address in a file."""
    gateway = Gateway(registry, GatewaySettings(name="gateway-1", loopback=True, admin_key=admin_key))
    gateway.mount(create_app(registry, leaving=gateway.leaving, admin_key=admin_key))
    with socket.create_server(("127.0.0.1", 0)) as listening:
        listening.setblocking(False)
        gateway.serve(listening)
        note(Path(notes), f"http://127.0.0.1:{listening.getsockname()[1]}")
        await asyncio.Event().wait()


def note(path: Path, address: str) -> None:
    """Write a file that is there whole or not at all."""
    written = path.with_suffix(".new")
    written.write_text(address, encoding="ascii")
    written.rename(path)
