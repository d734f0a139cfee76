"""Measuring several things in one run so that the noise of the machine hits them alike."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Mapping
from statistics import median

Sampler = Callable[[float], float]
"""Measures for that many seconds; returns one number."""

SLICE_S = 0.1
"""How long one thing is measured before it is the next one's turn."""

SHORTEST_SLICE_S = 0.01

IN_A_ROW = 100
"""Calls between two looks at the clock where one alone is too short to be timed."""


def p50_us(call: Callable[[], object]) -> Sampler:
    """A sampler that makes one call after the other and gives the median of their times in microseconds."""
    return lambda seconds: median(_times_ns(call, seconds)) / 1_000


def p95_us(call: Callable[[], object]) -> Sampler:
    """The same with the time that 95 % of the calls stay within."""
    return lambda seconds: percentile(_times_ns(call, seconds), 95) / 1_000


def loop_us(call: Callable[[], object]) -> Sampler:
    """A sampler for calls that take hardly longer than reading the clock: the median of the means of many in a row."""

    def sample(seconds: float) -> float:
        clock = time.perf_counter_ns
        means: list[float] = []
        before = clock()
        end = before + int(seconds * 1e9)
        while before < end:
            for _ in range(IN_A_ROW):
                call()
            after = clock()
            means.append((after - before) / IN_A_ROW)
            before = after
        return median(means) / 1_000

    return sample


async def awaited_p50_us(call: Callable[[], Awaitable[object]], seconds: float) -> float:
    """The median for a call that is awaited."""
    clock = time.perf_counter_ns
    taken: list[int] = []
    before = clock()
    end = before + int(seconds * 1e9)
    while before < end:
        await call()
        after = clock()
        taken.append(after - before)
        before = after
    return median(taken) / 1_000


def _times_ns(call: Callable[[], object], seconds: float) -> list[int]:
    clock = time.perf_counter_ns
    taken: list[int] = []
    before = clock()
    end = before + int(seconds * 1e9)
    while before < end:
        call()
        after = clock()
        taken.append(after - before)
        before = after
    return taken


def percentile(values: list[int], percent: int) -> int:
    """The smallest value that so many percent of the values are not above.

    >>> percentile(list(range(1, 101)), 95), percentile([7], 99), percentile([3, 1, 2], 50)
    (95, 7, 2)
    """
    return sorted(values)[-(-len(values) * percent // 100) - 1]


def in_rounds(samplers: Mapping[str, Sampler], seconds: float) -> dict[str, list[float]]:
    """What the samplers measured in each round; in a round all have a turn, and the first round does not count.

    Args:
        samplers: What to measure, by name.
        seconds: About how long that may take. There are at least two rounds that count.
    """
    end = time.monotonic() + seconds
    slice_s = max(SHORTEST_SLICE_S, min(SLICE_S, seconds / len(samplers) / 3))
    results: dict[str, list[float]] = {name: [] for name in samplers}
    for sample in samplers.values():
        sample(slice_s)
    rounds = 0
    while rounds < 2 or time.monotonic() + slice_s * len(samplers) <= end:
        for name, sample in samplers.items():
            results[name].append(sample(slice_s))
        rounds += 1
    return results


def ratio(dividend: list[float], divisor: list[float]) -> float:
    """The median of the ratios of the rounds: what slows a whole round down leaves its ratio as it is.

    >>> ratio([20.0, 44.0, 20.0], [10.0, 22.0, 11.0])
    2.0
    """
    return median(one / other for one, other in zip(dividend, divisor, strict=True))
