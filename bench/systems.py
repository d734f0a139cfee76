"""Our own side of the queue benchmark: running systems, and what is measured of them."""

from __future__ import annotations

import asyncio
import resource
import tempfile
import time
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import Any

from bench.processes import Peers
from bench.timing import Sampler
from registry import AsyncRegistry, Backend, BackendStatus, ModelNotFound, Registry, Supervisor, Worker

BACKEND = Backend(url="http://127.0.0.1:8000")

BATCH = 64
"""Changes in a batch where durable ones are compared with others."""

BATCHES_UNDER_WAY = 4
"""Batches on their way at one time where changes are pipelined."""

CONNECTING = 50
"""Sessions that are opened at one time."""

OUTSTANDING = 500
"""Messages of the flooding process that are on their way at one time: half of what the owner lets a session have."""


def system(processes: Peers, data_dir: str | None = None) -> Supervisor:
    """A registry with one backend."""
    supervisor = processes.enter_context(Supervisor(data_dir))
    supervisor.registry.add_backend(BACKEND)
    return supervisor


def asking(supervisor: Supervisor) -> Callable[[], object]:
    """The ask: one increment."""
    registry = supervisor.registry
    id = BACKEND.id

    def increment() -> None:
        registry.increment_pending(id)

    return increment


def increment_for_ever(registry: Registry, id: str) -> None:
    """A worker of a crowd."""
    while True:
        registry.increment_pending(id)


def pending(supervisor: Supervisor) -> int:
    """What the workers of a crowd have made of the number."""
    backend = supervisor.registry.get_backend(BACKEND.id, fresh=True)
    return 0 if backend is None else backend.pending_requests


def pids(supervisor: Supervisor, workers: list[Worker]) -> list[int]:
    """The workers' process ids, once all of them have begun."""
    while not all(info.ready for info in supervisor.processes()):
        time.sleep(0.01)
    return [worker.pid or 0 for worker in workers]


def gathered(supervisor: Supervisor, processes: Peers, together: int) -> Sampler:
    """Gives changes a second: so many asks in flight, and when all are answered as many again."""
    runner, registry = _async_registry(supervisor, processes)
    id = BACKEND.id
    return _batches(runner, lambda: [registry.increment_pending(id) for _ in range(together)])


def pipelined(supervisor: Supervisor, processes: Peers, together: int) -> Sampler:
    """Gives changes a second: atomic batches of so many, the next ones on their way while one is done."""
    runner, registry = _async_registry(supervisor, processes)
    increment = Registry.increment_pending

    async def change(seconds: float) -> float:
        changes = 0
        start = time.perf_counter()

        async def one_after_the_other() -> None:
            nonlocal changes
            while time.perf_counter() - start < seconds:
                calls = [increment.call(BACKEND.id) for _ in range(together)]
                done = await registry.batch(calls, atomic=True)  # apart: the others count meanwhile
                changes += len(done)

        await asyncio.gather(*(one_after_the_other() for _ in range(BATCHES_UNDER_WAY)))
        return changes / (time.perf_counter() - start)

    return lambda seconds: runner.run(change(seconds))


def durable_and_other(processes: Peers) -> tuple[Sampler, Sampler]:
    """Changes a second in batches, of a system with a journal in a real directory: durable ones, and others."""
    directory = processes.enter_context(tempfile.TemporaryDirectory(prefix="bench-journal-"))
    supervisor = system(processes, directory)
    runner, registry = _async_registry(supervisor, processes)
    ids = [f"durable-{number}" for number in range(BATCH)]
    for number, id in enumerate(ids):
        supervisor.registry.add_backend(Backend(url=f"http://127.0.0.1:{9_000 + number}", id=id))
    statuses = [BackendStatus.HEALTHY, BackendStatus.UNHEALTHY]

    def durable() -> list[Coroutine[Any, Any, None]]:
        statuses.reverse()  # to note the same status again would not be a durable change
        return [registry.update_status(id, statuses[0]) for id in ids]

    return _batches(runner, durable), _batches(runner, lambda: [registry.increment_pending(id) for id in ids])


def _batches(runner: asyncio.Runner, make: Callable[[], list[Coroutine[Any, Any, Any]]]) -> Sampler:
    async def change(seconds: float) -> float:
        start = time.perf_counter()
        changes = 0
        while (taken_s := time.perf_counter() - start) < seconds:
            changes += len(await asyncio.gather(*make()))
        return changes / taken_s

    return lambda seconds: runner.run(change(seconds))


def with_sessions(processes: Peers, count: int) -> Supervisor:
    """A system with so many sessions, of which all but the one of `supervisor.registry` have joined and are idle."""
    supervisor = system(processes)
    _raise_descriptor_limit(2 * count)
    runner = processes.enter_context(asyncio.Runner())

    async def join() -> AsyncRegistry:
        registry = await supervisor.async_registry()
        await registry.backend_count(fresh=True)  # only one that was answered has joined for certain
        return registry

    async def join_all() -> list[AsyncRegistry]:
        joined: list[AsyncRegistry] = []
        while len(joined) < count - 1:
            some = min(CONNECTING, count - 1 - len(joined))
            joined += await asyncio.gather(*(join() for _ in range(some)))
        return joined

    registries = runner.run(join_all())

    async def leave() -> None:
        for registry in registries:
            registry.close()

    processes.callback(lambda: runner.run(leave()))
    return supervisor


def _raise_descriptor_limit(wanted: int) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted += 1_000  # for everything else
    if hard != resource.RLIM_INFINITY:
        wanted = min(wanted, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def _async_registry(supervisor: Supervisor, processes: Peers) -> tuple[asyncio.Runner, AsyncRegistry]:
    """A registry and the loop that it lives in."""
    runner = processes.enter_context(asyncio.Runner())
    registry = runner.run(supervisor.async_registry())

    async def leave() -> None:
        registry.close()

    processes.callback(lambda: runner.run(leave()))
    return runner, registry


async def flood_with_tells(registry: AsyncRegistry) -> None:
    """Tell the owner small things for ever, as many as it lets this session have."""
    while True:
        for _ in range(OUTSTANDING):
            registry.count_http_error(404)
        await registry.increment_pending(BACKEND.id)


async def flood_with_big_asks(registry: AsyncRegistry) -> None:
    """Ask the owner big things for ever: each ask has 50 KB, and the answer is no."""
    exclude = ["x" * 500] * 100

    async def ask_for_ever() -> None:
        while True:
            with suppress(ModelNotFound):
                await registry.acquire("no such model", exclude=exclude)

    await asyncio.gather(*(ask_for_ever() for _ in range(OUTSTANDING)))
