"""SIGKILL to the supervisor of a system with a data directory: all of it goes, and what was acknowledged stays."""

from __future__ import annotations

import os
import random
import signal
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import psutil

from bench.figures import Figure, at_most
from bench.trials.board import BACKENDS, OWN_BACKENDS, Word
from bench.trials.callers import own_backend_id
from bench.trials.load import Load
from bench.trials.waiting import wait_until
from registry import Registry, Supervisor

CALLERS = 4

MOST = 10
"""Kills; each needs a system of its own."""

LEFT_AFTER_S = 2.0

SPREAD_S = 0.3
"""The moment of the kill is anywhere in so many seconds."""


@dataclass(slots=True)
class _Tally:
    kills: int = 0
    processes: int = 0
    left: int = 0
    lost: int = 0
    surplus: int = 0
    gone_after_ms: float = 0.0


@dataclass(frozen=True, slots=True)
class _Known:
    """What one caller knew of its own backends.

    Attributes:
        there: Ids of those that are there.
        absent: Ids of those that are not. One that it was about to change is in neither.
        durable: Its acknowledged durable changes.
    """

    there: set[str]
    absent: set[str]
    durable: int


def run(seconds: float, chance: random.Random) -> Iterator[Figure]:
    """Kill as many as there is time for."""
    tally = _Tally()
    end = time.monotonic() + seconds
    while tally.kills < MOST and (not tally.kills or time.monotonic() < end):
        with tempfile.TemporaryDirectory(prefix="bench-faults-") as directory:
            known = _kill(Path(directory), tally, chance)
            with Supervisor(directory) as supervisor:
                _compare(supervisor.registry, known, tally)
    yield Figure("supervisor_kills", tally.kills, "kills", about=f"while {CALLERS} workers call the owner")
    about = f"still there {LEFT_AFTER_S:.0f} s later"
    yield Figure("processes_left", tally.left, f"of {tally.processes}", goal=at_most(0), about=about)
    yield Figure("all_gone_after", tally.gone_after_ms, "ms", about="the longest it took")
    about = "acknowledged durable changes that the next start had not"
    yield Figure("durable_lost", tally.lost, "changes", goal=at_most(0), about=about)
    yield Figure("durable_surplus", tally.surplus, "changes", goal=at_most(0), about="those that nobody asked for")


def _kill(directory: Path, tally: _Tally, chance: random.Random) -> list[_Known]:
    with ExitStack() as stack:
        load = Load(stack, CALLERS, chance, data_dir=directory)
        time.sleep(chance.uniform(0.0, SPREAD_S))
        supervisor = psutil.Process(load.supervisor.pid)
        processes = [supervisor, *supervisor.children(recursive=True)]
        killed_s = time.monotonic()
        os.kill(supervisor.pid, signal.SIGKILL)
        tally.kills += 1
        tally.processes += len(processes)
        wait_until(lambda: not any(map(_runs, processes)), LEFT_AFTER_S)
        tally.gone_after_ms = max(tally.gone_after_ms, (time.monotonic() - killed_s) * 1_000)
        tally.left += sum(map(_runs, processes))
        return [_known(slot, words) for slot, words in enumerate(load.slots)]


def _runs(process: psutil.Process) -> bool:
    """Whether it has not ended; one that waits to be reaped has."""
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def _known(slot: int, words: memoryview[int]) -> _Known:
    certain = [number for number in range(OWN_BACKENDS) if number + 1 != words[Word.CHANGING]]
    there = {number for number in certain if words[Word.OWN] >> number & 1}
    return _Known(
        {own_backend_id(slot, number) for number in there},
        {own_backend_id(slot, number) for number in certain if number not in there},
        words[Word.DURABLE],
    )


def _compare(registry: Registry, known: list[_Known], tally: _Tally) -> None:
    """Each caller may have had one change under way, of which it does not know."""
    ids = {view.id for view in registry.get_all_backends(fresh=True)}
    revision = registry.metrics().revision
    acknowledged = sum(one.durable for one in known) + BACKENDS
    tally.lost += sum(len(one.there - ids) for one in known) + max(0, acknowledged - revision)
    tally.surplus += sum(len(one.absent & ids) for one in known) + max(0, revision - acknowledged - len(known))
