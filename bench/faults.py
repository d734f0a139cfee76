"""What kills, stops and garbage do to a running system: nothing, but for a moment's wait.

Each fault is a trial of its own, on a system of its own. All promises but those about time are about counts, which no
noise of the machine excuses.
"""

from __future__ import annotations

import random
import time
from collections.abc import Iterator

from bench.figures import Figure
from bench.trials import garbage, mp_queue_kills, owner_kills, supervisor_kills, worker_kills, worker_stop

SECONDS = 300.0
"""Enough for all kills; with less time there are fewer of them."""

_TRIALS = (
    (worker_kills.run, 28),
    (mp_queue_kills.run, 4),
    (owner_kills.run, 53),
    (worker_stop.run, 8),
    (supervisor_kills.run, 3),
    (garbage.run, 4),
)
"""The trials and how the time is shared out among them."""


def run(seconds: float, seed: int) -> Iterator[Figure]:
    """Do everything in turn; takes some seconds longer than told if that is less than the processes need to start."""
    end = time.monotonic() + seconds
    yield Figure("seed", seed, "", about="--seed repeats what is left to chance here; not what the kernel does")
    parts = sum(part for _, part in _TRIALS)
    for trial, part in _TRIALS:
        share_s = max(0.0, end - time.monotonic()) * part / parts
        parts -= part
        # Each has chances of its own, which do not depend on how far another one came.
        yield from trial(share_s, random.Random(f"{seed} {trial.__module__}"))
