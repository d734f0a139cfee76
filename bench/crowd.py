"""Several processes that change one number at the same time, as fast as they can."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress

from bench.timing import Sampler

WINDOW_SLICES = 3
"""A crowd needs a slice to get going; then it is measured for so many."""


def changes_a_second(crowd: ExitStack, pids: Sequence[int], read: Callable[[], int]) -> Sampler:
    """A sampler of how fast processes change a number together; they are stopped while others are measured.

    One that is stopped in the middle of a change finishes it later.

    Args:
        crowd: Lets them go on at its end, so that they can be told to end.
        pids: The processes, which change the number without end.
        read: Gives the number.
    """
    before = read()
    while read() == before:  # none has begun yet
        time.sleep(0.01)
    _signal(pids, signal.SIGSTOP)
    crowd.callback(_signal, pids, signal.SIGCONT)

    def sample(seconds: float) -> float:
        _signal(pids, signal.SIGCONT)
        try:
            time.sleep(seconds)
            before, start = read(), time.perf_counter()
            time.sleep(seconds * WINDOW_SLICES)
            after, end = read(), time.perf_counter()
        finally:
            _signal(pids, signal.SIGSTOP)
        return (after - before) / (end - start)

    return sample


def _signal(pids: Sequence[int], number: signal.Signals) -> None:
    for pid in pids:
        with suppress(ProcessLookupError):  # ended with everything else
            os.kill(pid, number)
