"""A figure: a number with its unit, and the goal it is held to if there is one."""

from __future__ import annotations

import json
from dataclasses import dataclass, field

TIMED_UNITS = frozenset({"s", "ms", "µs", "1/s", "x", "% of a core"})
"""Units of what depends on the machine and on what else it does; the other figures are counts."""

DIGITS = 3
"""Digits after the point that are shown; a figure is judged as it is shown."""


@dataclass(frozen=True, slots=True)
class Goal:
    """A promise about a figure.

    Attributes:
        value: The bound, in the figure's unit.
        at_least: Whether more is better; else less is.

    >>> at_most(3).holds(2.5), at_least(7).holds(2.5)
    (True, False)
    >>> str(at_most(3))
    '≤ 3'
    """

    value: float
    at_least: bool

    def holds(self, value: float) -> bool:
        """Whether a value keeps the promise."""
        return value >= self.value if self.at_least else value <= self.value

    def __str__(self) -> str:
        return f"{'≥' if self.at_least else '≤'} {self.value:g}"


def at_least(value: float) -> Goal:
    """More is better."""
    return Goal(value, at_least=True)


def at_most(value: float) -> Goal:
    """Less is better."""
    return Goal(value, at_least=False)


@dataclass(frozen=True, slots=True)
class Figure:
    """One result of a benchmark.

    Attributes:
        name: What was measured.
        value: The number.
        unit: Its unit; `x` for a ratio, `of N` for a count of N trials, empty for a number that measures nothing.
        goal: Only where an issue or the design sets one.
        about: One line for people.
    """

    name: str
    value: float
    unit: str
    goal: Goal | None = field(default=None, kw_only=True)
    about: str = field(default="", kw_only=True)

    def __post_init__(self) -> None:
        object.__setattr__(self, "value", round(self.value, DIGITS))

    @property
    def holds(self) -> bool | None:
        """Whether the goal is reached; None without a goal."""
        return None if self.goal is None else self.goal.holds(self.value)

    def as_json(self) -> str:
        """One line for programs."""
        goal = None if self.goal is None else self.goal.value
        line = {"figure": self.name, "value": self.value, "unit": self.unit, "goal": goal, "holds": self.holds}
        return json.dumps(line, ensure_ascii=False)

    def as_row(self) -> str:
        """One line of a table for people.

        >>> Figure("ask_over_pipe", 2.5, "x", goal=at_most(3), about="how much dearer").as_row()
        'ask_over_pipe                        2.5 x              ≤ 3   yes   how much dearer'
        """
        goal = "" if self.goal is None else str(self.goal)
        holds = {None: "", True: "yes", False: "NO"}[self.holds]
        value = _for_people(self.value) if self.unit else str(self.value)
        row = _row(self.name, value, self.unit, goal, holds)
        return f"{row} {self.about}".rstrip()


def header() -> str:
    """The first line of the table for people."""
    return _row("figure", "value", "unit", "goal", "holds")


def _for_people(value: float) -> str:
    """Three digits are enough to compare by.

    >>> _for_people(46529.2), _for_people(20), _for_people(2.476)
    ('46,529', '20', '2.48')
    """
    return f"{value:,.0f}" if value >= 1_000 else f"{value:.3g}"


def _row(name: str, value: str, unit: str, goal: str, holds: str) -> str:
    return f"{name:<30}{value:>10} {unit:<9} {goal:>8}   {holds:<5}"
