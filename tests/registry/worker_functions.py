"""What the tests let worker processes do; in a module of its own, since workers import it by name."""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import signal
import sys
import threading
from pathlib import Path

from registry import AsyncRegistry, Backend, BackendStatus, Lease, Model, Registry, RegistryError
from tests.forking import Forked
from tests.processes import open_files


def count(registry: Registry, backend: str, times: int, *, release: bool = True) -> None:
    """Count requests up, and down again if wanted."""
    for _ in range(times):
        registry.increment_pending(backend)
        if release:
            registry.decrement_pending(backend)


def acquire_and_release(registry: Registry, model: str, times: int) -> None:
    """Hold a lease for a moment, many times."""
    for _ in range(times):
        with registry.lease(model):
            pass


def add_and_end(registry: Registry, backend: str) -> None:
    """Add a backend, and be gone."""
    registry.add_backend(Backend(url="http://a:8000", id=backend))


def change_at_random(registry: Registry, seed: int, times: int) -> None:
    """Do something with some of a few backends, whatever comes of it."""
    chance = random.Random(seed)
    for _ in range(times):
        id = f"r{chance.randrange(4)}"
        with contextlib.suppress(RegistryError):
            match chance.randrange(6):
                case 0:
                    models = [Model(id=f"m{number}") for number in range(chance.randrange(3))]
                    registry.add_backend(Backend(url=f"http://{id}:8000", id=id, models=models))
                case 1:
                    registry.remove_backend(id)
                case 2:
                    registry.update_status(id, chance.choice(list(BackendStatus)))
                case 3:
                    registry.increment_total_requests(id)
                case 4:
                    registry.release(registry.acquire(f"m{chance.randrange(3)}"), latency_ms=chance.randrange(100))
                case _:
                    registry.increment_pending(id)
                    registry.decrement_pending(id)


def write_what_is_read(registry: Registry, path: str) -> None:
    """Read the copy for ever, and write it down whenever it is another one."""
    written = ""
    while True:
        views = registry.get_all_backends()
        text = repr([registry.replica.resyncs, [[view.id, view.status, view.pending_requests] for view in views]])
        if text != written and registry.replica.complete:
            scratch = Path(f"{path}.new")
            scratch.write_text(text)
            scratch.rename(path)
            written = text
        threading.Event().wait(0.01)


def leave(registry: Registry, code: int) -> None:
    """End with an exit code."""
    registry.close()
    sys.exit(code)


def fail(registry: Registry) -> None:
    """End with an exception."""
    registry.remove_backend("nobody has this id")


def fail_once(registry: Registry, notes: str) -> None:
    """Note each life; the first one ends badly, the second one well."""
    lives = note(notes)
    registry.backend_count()
    if lives == 1:
        os._exit(3)


def note(notes: str) -> int:
    """Add this process's id to a file; returns how many are in it."""
    with Path(notes).open("a", encoding="ascii") as file:
        file.write(f"{os.getpid()}\n")
    return len(Path(notes).read_text(encoding="ascii").split())


def hold(registry: Registry, model: str) -> None:
    """Take a lease and an increment and keep them until killed."""
    lease = registry.acquire(model)
    registry.increment_pending(lease.backend)
    threading.Event().wait()


def wait_and_hold(registry: Registry, model: str) -> None:
    """Wait for a lease in the owner's line, and keep it until killed."""
    registry.acquire(model, wait=True, timeout=60)
    threading.Event().wait()


def ignore_sigterm(registry: Registry, model: str) -> None:
    """Hold a lease and do not leave when asked to."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    hold(registry, model)


async def count_backends_async(registry: AsyncRegistry, at_least: int) -> None:
    """Ends with an error unless there are so many backends."""
    if await registry.backend_count(fresh=True) < at_least:
        raise AssertionError


def fork_and_count(registry: Registry, times: int) -> None:
    """Let a forked child count beside this process, which holds a lease all the while."""
    with registry.lease("m") as lease:
        child = Forked(lambda: _count_and_release(registry, lease, times))
        for _ in range(times):
            registry.increment_total_requests(lease.backend)
        child.result()
        registry.increment_total_requests(lease.backend)


def _count_and_release(registry: Registry, lease: Lease, times: int) -> None:
    for _ in range(times):
        registry.increment_total_requests(lease.backend)
        registry.release(lease)


async def fork_and_count_async(registry: AsyncRegistry, times: int) -> None:
    """The same with the asyncio face; the child has an event loop of its own."""

    async def count(lease: Lease) -> None:
        for _ in range(times):
            await registry.increment_total_requests(lease.backend)
            await registry.release(lease)
            registry.release_nowait(lease)

    async with registry.lease("m") as lease:
        child = Forked(lambda: asyncio.run(count(lease)))
        for _ in range(times):
            await registry.increment_total_requests(lease.backend)
        await asyncio.to_thread(child.result)
        await registry.increment_total_requests(lease.backend)


def fork_and_compare(registry: Registry) -> None:
    """End with an error if a forked child holds any socket that this process has."""
    registry.backend_count()
    before = sockets()
    kept = Forked(lambda: sorted(sockets() & before)).result()
    assert before
    assert not kept


def sockets() -> set[str]:
    """The sockets that this process has open."""
    return {file for file in open_files() if file.startswith("socket:")}
