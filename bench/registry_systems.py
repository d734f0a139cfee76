"""Running registries with many backends, and what is measured of them once."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator
from multiprocessing.connection import Connection
from pathlib import Path

import psutil

from bench.figures import Figure, at_most
from bench.fleet import Fleet
from bench.processes import SPAWN, Peers
from registry import Registry, Supervisor, connect

READS = 10_000
READERS = 8

SPECIFIED_READS_S = 5.0
"""What the specification allows for all reads."""

SPECIFIED_BACKEND_KB = 10.0
"""What the specification allows for a backend."""

COPY_WITHIN_S = 60.0
"""How long the local copy may take to be whole."""


def filled(processes: Peers, fleet: Fleet) -> Supervisor:
    """A running registry with these backends."""
    supervisor = processes.enter_context(Supervisor())
    fleet.register(supervisor.registry)
    return supervisor


def wait_for_copy(registry: Registry) -> float:
    """Begin to read, and wait until what is read is the local copy; returns how long it took, in seconds."""
    start = time.perf_counter()
    registry.backend_count()
    while not registry.replica.complete:
        if time.perf_counter() - start > COPY_WITHIN_S:
            message = f"the local copy was not whole after {COPY_WITHIN_S:.0f} s"
            raise TimeoutError(message)
        registry.backend_count()
    return time.perf_counter() - start


def reads_of_many_processes(fleet: Fleet) -> Iterator[Figure]:
    """10,000 reads, shared out among eight processes that begin at the same time."""
    with Peers() as processes:
        supervisor = filled(processes, fleet)
        for fresh in (False, True):
            taken_s = _time_readers(supervisor.path, fleet.id_of(0), fresh=fresh)
            name, how = ("fresh_reads", "asked from the owner") if fresh else ("reads", "from the local copies")
            about = f"{READS:,} get_backend of {READERS} processes together, {how}"
            yield Figure(f"{name}_of_8_processes", taken_s, "s", goal=at_most(SPECIFIED_READS_S), about=about)


def _time_readers(path: Path, id: str, *, fresh: bool) -> float:
    with Peers() as readers:
        lines = []
        for _ in range(READERS):
            ours, theirs = SPAWN.Pipe()
            readers.enter_context(ours)
            with theirs:
                readers.start(_read, theirs, str(path), id, fresh)
            lines.append(ours)
        for line in lines:
            line.recv()
        start = time.perf_counter()
        for line in lines:
            line.send(READS // READERS)
        for line in lines:
            line.recv()
        return time.perf_counter() - start


def _read(line: Connection, path: str, id: str, fresh: bool) -> None:
    with connect(path) as registry:
        if not fresh:
            wait_for_copy(registry)
        line.send("ready")
        for _ in range(line.recv()):
            if registry.get_backend(id, fresh=fresh) is None:
                raise LookupError(id)
        line.send("done")
        line.recv()


def memory(sizes: tuple[int, ...] = (100, 1_000)) -> Iterator[Figure]:
    """What the owner's memory grows by, for a backend with ten models."""
    for size in sizes:
        with Peers() as processes:
            supervisor = processes.enter_context(Supervisor())
            owner = psutil.Process(next(info.pid for info in supervisor.processes() if info.name == "owner") or 0)
            supervisor.registry.backend_count(fresh=True)
            before = owner.memory_full_info().uss
            # One after the other, as backends come in use: a batch of many would leave its own traces in the heap.
            Fleet(size, max(10, size)).register(supervisor.registry, together=1)
            grown_kb = (owner.memory_full_info().uss - before) / 1024
            about = f"the owner's own memory for each of {size:,} backends with 10 models"
            yield Figure(f"memory_of_{size}", grown_kb / size, "KB", goal=at_most(SPECIFIED_BACKEND_KB), about=about)


def starts(fleet: Fleet) -> Iterator[Figure]:
    """A start from a journal, and a worker process that joins."""
    with tempfile.TemporaryDirectory(prefix="bench-journal-") as directory:
        with Supervisor(directory) as supervisor:
            fleet.register(supervisor.registry)
        start = time.perf_counter()
        with Supervisor(directory) as supervisor:
            found = supervisor.registry.backend_count(fresh=True)
            taken_s = time.perf_counter() - start
            if found != fleet.backends:
                raise LookupError(f"{found} backends after the start instead of {fleet.backends}")
            about = f"start with {fleet.backends:,} backends in the journal, to the first answer"
            yield Figure("start", taken_s, "s", about=about)
            with connect(supervisor.path) as registry:
                before = registry.statistics().queue.received_bytes
                joined_s = wait_for_copy(registry)
                size = registry.statistics().queue.received_bytes - before
                about = f"a worker process's first read to its whole copy of {fleet.backends:,} backends"
                yield Figure("snapshot", joined_s, "s", about=about)
                yield Figure("snapshot_size", size / 2**20, "MiB", about="what it was sent for that")
