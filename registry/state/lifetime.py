"""The registry's own clock, on which heartbeats age: it stands still while the registry is down, however long.

It goes on where the tables say it was. Nothing is read from the wall clock, which may be set, and nothing from a
`CLOCK_MONOTONIC` of a former life, which may have been another machine's.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from actors.tables import Table

if TYPE_CHECKING:
    from actors.actor import Context

STOPPED_S = 3.0
"""After so long without a tick, which comes twice a second, the registry did not run."""

_ROW = "registry"


class Lifetime:
    """How long the registry has lived.

    Attributes:
        tables: What it holds.
    """

    def __init__(self) -> None:
        self._lived: Table[str, float] = Table("lifetime", str, float, durable=False, saved=True)
        self._started: Table[str, float] = Table("started", str, float, durable=False)
        self.tables = (self._lived, self._started)
        self._runs = False
        self._ahead_s = 0.0  # of CLOCK_MONOTONIC
        self._ticked_s = 0.0

    @property
    def runs(self) -> bool:
        """Whether the clock goes on already in this owner's life."""
        return self._runs

    def begin(self, context: Context, at_least_s: float) -> None:
        """Go on, from now.

        Args:
            context: The first circumstances of this owner's life.
            at_least_s: An instant that was before, such as that of the latest heartbeat.
        """
        self._ahead_s = max(self._lived.get(_ROW) or 0.0, at_least_s) - context.monotonic_s
        self._ticked_s = context.monotonic_s
        self._runs = True

    def now_s(self, context: Context) -> float:
        """The time on this clock, in seconds that the registry has lived."""
        return context.monotonic_s + self._ahead_s

    def on_monotonic(self, lived_s: float) -> float:
        """The instant on `CLOCK_MONOTONIC` at which this clock shows a time; the same all through an owner's life."""
        return lived_s - self._ahead_s

    def uptime_s(self, context: Context) -> float:
        """Seconds since the system started; a new owner does not begin anew."""
        started_s = self._started.get(_ROW)
        return 0.0 if started_s is None else context.monotonic_s - started_s

    def tick(self, context: Context, *, note: bool) -> float:
        """Time passes; returns how long the registry did not run, although the clock did.

        Args:
            context: The circumstances.
            note: Whether anything ages, so that a next life must know the time.
        """
        if self._started.get(_ROW) is None:
            self._started.put(_ROW, context.monotonic_s)
        if note:
            self._lived.put(_ROW, self.now_s(context))
        passed_s, self._ticked_s = context.monotonic_s - self._ticked_s, context.monotonic_s
        return passed_s if passed_s > STOPPED_S else 0.0
