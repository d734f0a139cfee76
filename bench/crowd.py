"""Several processes that change one number at the same time, as fast as they can."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack

from bench.processes import resumed, stop
from bench.timing import Sampler

WINDOW_SLICES = 3
"""A crowd needs a slice to get going; then it is measured for so many."""


def changes_a_second(crowd: ExitStack, pids: Sequence[int], read: Callable[[], int], *, begun: bool = False) -> Sampler:
    """A sampler of how fast processes change a number together; they are stopped while others are measured.

    One that is stopped in the middle of a change finishes it later.

    Args:
        crowd: Lets them go on at its end, so that they can be told to end.
        pids: The processes, which change the number without end.
        read: Gives the number.
        begun: Whether they are part of another crowd and stopped already.
    """
    if not begun:
        before = read()
        while read() == before:  # none has begun yet
            time.sleep(0.01)
        stop(crowd, *pids)

    def sample(seconds: float) -> float:
        with resumed(pids):
            time.sleep(seconds)
            before, start = read(), time.perf_counter()
            time.sleep(seconds * WINDOW_SLICES)
            after, end = read(), time.perf_counter()
        return (after - before) / (end - start)

    return sample
