"""SIGSTOP to a worker in the midst of many calls: the others are not to notice."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from statistics import median

from bench.figures import Figure, at_most
from bench.processes import cores, on_core
from bench.timing import SLICE_S, p95_us
from bench.trials.board import END, Board, Common, Word
from bench.trials.callers import backend_id
from bench.trials.load import Load
from bench.trials.waiting import wait_until
from registry import AsyncRegistry, Registry

STOP_S = 10.0

STOP_SHARE = 0.4
"""Part of the time in which it is stopped; half as long before, and again afterwards, the others are measured too."""

CALLERS = 2

PAUSE_S = 0.005

TOGETHER = 100
"""Calls that the worker has under way at one time; when it is stopped their answers wait for it."""

MOMENT_S = 0.001
"""It waits so long between two such lots."""


def run(seconds: float, chance: random.Random) -> Iterator[Figure]:
    """Measure the others while it rests, while it is stopped in the midst of its calls, and when it rests again."""
    end = time.monotonic() + seconds
    with ExitStack() as stack:
        load = Load(stack, CALLERS, chance, PAUSE_S)
        slot = load.board.slot(CALLERS)
        load.supervisor.spawn(call_in_lots, load.board.path, CALLERS)
        wait_until(lambda: slot[Word.PID])
        # As in the queue benchmark: where the kernel happens to put the two would alter the times more than a stop.
        os.sched_setaffinity(load.owner_pid, {cores()[0]})
        stack.enter_context(on_core(cores()[-1]))
        stop_s = max(SLICE_S, min(STOP_S, (end - time.monotonic()) * STOP_SHARE))
        around = _p95s(load.registry, stop_s / 2)
        load.begin_life()
        wait_until(lambda: slot[Word.ANSWERS])
        pid = slot[Word.PID]
        os.kill(pid, signal.SIGSTOP)
        try:
            beside = _p95s(load.registry, stop_s)
            stuck = load.all_answered()
            count = slot[Word.ANSWERS]
        finally:
            os.kill(pid, signal.SIGCONT)
        goes_on = wait_until(lambda: slot[Word.ANSWERS] > count + TOGETHER)
        load.begin_life()
        wait_until(lambda: slot[Word.QUIET])
        around += _p95s(load.registry, stop_s / 2)
    yield Figure("stopped_for", stop_s, "s", about=f"a worker with up to {TOGETHER} calls under way is stopped")
    yield Figure("stuck_beside_stopped", stuck, f"of {CALLERS}", goal=at_most(0), about="others without more answers")
    yield Figure("stopped_for_ever", not goes_on, "of 1", goal=at_most(0), about="whether it did not go on afterwards")
    yield Figure("p95_around_stop", median(around), "µs", about="another one's asks, while it rests")
    about = "how much slower these are while it is stopped"
    yield Figure("stopped_over_around", median(beside) / median(around), "x", goal=at_most(1.5), about=about)


def _p95s(registry: Registry, seconds: float) -> list[float]:
    id = backend_id(0)
    sample = p95_us(lambda: registry.increment_pending(id))
    end = time.monotonic() + seconds
    sample(SLICE_S)  # the first of a kind is slower
    p95s = [sample(SLICE_S)]
    while time.monotonic() + SLICE_S < end:
        p95s.append(sample(SLICE_S))
    return p95s


async def call_in_lots(registry: AsyncRegistry, path: Path, number: int) -> None:
    """The worker that is stopped: many calls at once, again and again, in every other life; in the others it rests."""
    board = Board(path)
    words = board.slot(number)
    words[Word.PID] = os.getpid()
    id = backend_id(1)
    while board.common[Common.PHASE] != END:
        if board.common[Common.LIFE] % 2:
            await asyncio.gather(*(registry.increment_pending(id) for _ in range(TOGETHER)))
            words[Word.ANSWERS] += TOGETHER
        else:
            words[Word.QUIET] = words[Word.ANSWERS]
        await asyncio.sleep(MOMENT_S)
