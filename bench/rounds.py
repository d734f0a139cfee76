"""What samplers gave in the rounds of a benchmark, as figures."""

from __future__ import annotations

from collections.abc import Mapping
from statistics import median

from bench.figures import Figure, Goal
from bench.timing import ratio


class Rounds:
    """What each sampler gave, round by round, as figures.

    Args:
        measured: The numbers by name of the sampler.
    """

    def __init__(self, measured: Mapping[str, list[float]]) -> None:
        self._measured = measured

    def __contains__(self, name: str) -> bool:
        return name in self._measured

    def one(self, figure: str, name: str, unit: str, about: str, goal: Goal | None = None) -> Figure:
        """The median of what one sampler gave."""
        return Figure(figure, median(self._measured[name]), unit, goal=goal, about=about)

    def compared(self, figure: str, name: str, other: str, about: str, goal: Goal | None = None) -> Figure:
        """How many times the other's number the first one's is."""
        value = ratio(self._measured[name], self._measured[other])
        return Figure(figure, value, "x", goal=goal, about=about)

    def inverted(self, name: str) -> Rounds:
        """The same with one over the number of one sampler: microseconds become changes a second."""
        changed = [1e6 / value for value in self._measured[name]]
        return Rounds({**self._measured, name: changed})
