"""How a program that the supervisor did not start joins a running registry."""

from __future__ import annotations

import asyncio
import functools
from pathlib import Path

from actors.attach import TIMEOUT_S, attach
from actors.channel import Channel
from registry.client import AsyncRegistry, Registry
from registry.directory import SOCKET, default_directory


def connect(path: Path | str | None = None) -> Registry:
    """Join a running registry: a session like that of any worker, which ends with `close` or with this process.

    A process that is forked from this one may go on using the result: it joins anew by itself at its first call.
    When the system stops, calls raise `SystemStopped`; then connect again.

    Args:
        path: The data directory of the system (`Supervisor.path`, `--data-dir`) or the socket in it; None for the one
            that `actor-registry serve` uses by default.

    Raises:
        AttachFailed: No running system could be joined there; the text says why.
    """
    place = _place(path)
    return Registry(join(place), functools.partial(join, place))


async def connect_async(path: Path | str | None = None) -> AsyncRegistry:
    """Join a running registry for the running event loop; see `connect`."""
    place = _place(path)
    return AsyncRegistry(await asyncio.to_thread(join, place), functools.partial(join, place))


def join(place: Path, timeout_s: float = TIMEOUT_S) -> Channel:
    """A session with the system of a data directory, or of a socket.

    Raises:
        AttachFailed: There is none, or it refused.
    """
    return attach(place if place.name == SOCKET else place / SOCKET, timeout_s)


def _place(path: Path | str | None) -> Path:
    # A forked child may have another working directory.
    return default_directory() if path is None else Path(path).absolute()
