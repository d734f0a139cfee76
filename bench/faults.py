"""What kills, stops and garbage do to a running system: nothing, but for a moment's wait.

Each fault is a trial of its own, on a system of its own, in its share of the time.
"""

from __future__ import annotations

import random
from collections.abc import Iterator

from bench.figures import Figure
from bench.trials import mp_queue_kills, owner_kills, worker_kills

SECONDS = 300.0

_SHARES = (
    (worker_kills.run, 0.42),
    (mp_queue_kills.run, 0.05),
    (owner_kills.run, 0.46),
)


def run(seconds: float, seed: int) -> Iterator[Figure]:
    """Do everything in turn; takes some seconds longer than told if that is less than the processes need to start."""
    yield Figure("seed", seed, "", about="--seed repeats what is left to chance here; not what the kernel does")
    for trial, share in _SHARES:
        # Each has chances of its own, which how far another one came does not alter.
        yield from trial(seconds * share, random.Random(f"{seed} {trial.__module__}"))
