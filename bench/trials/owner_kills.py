"""SIGKILL to the owner, again and again, while processes call it without a pause.

A life of less than a second counts as a crash, and a system whose owner crashes ten times in a minute stops. So most
of its lives are longer than that here; one in ten ends at once.
"""

from __future__ import annotations

import random
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field

from actors.processes.restarts import HEALTHY_S
from bench.figures import Figure, at_least, at_most
from bench.timing import percentile
from bench.trials.board import Word
from bench.trials.load import Load
from bench.trials.model import Difference

KILLS = 100

CALLERS = 6

AT_ONCE = 10
"""One of so many lives is short."""

MARGIN_S = 0.05
"""How much longer than `HEALTHY_S` a life is at least: it begins a little before its first answer is seen."""

SPREAD_S = 0.2
"""The moment of the kill is anywhere in so many seconds."""


@dataclass(slots=True)
class _Tally:
    """What was seen of all kills.

    Attributes:
        kills: How many.
        equal: After how many of them the registry held what it must.
        worst: The greatest difference; one that stays is not to be counted again after each kill.
        outages_ns: From each kill to each caller's first answer after it.
        stuck: Callers that had no answer any more.
        errors: Errors that callers saw.
    """

    kills: int = 0
    equal: int = 0
    worst: Difference = field(default_factory=lambda: Difference(0, 0))
    outages_ns: list[int] = field(default_factory=list)
    stuck: int = 0
    errors: int = 0

    def compared(self, difference: Difference) -> None:
        """Count one comparison."""
        self.equal += not difference
        missing = max(self.worst.missing, difference.missing)
        self.worst = Difference(missing, max(self.worst.surplus, difference.surplus))


def run(seconds: float, chance: random.Random) -> Iterator[Figure]:
    """Kill as many as there is time for."""
    tally = _Tally()
    end = time.monotonic() + seconds
    with ExitStack() as stack:
        load = Load(stack, CALLERS, chance)
        while tally.kills < KILLS and not tally.stuck and (not tally.kills or time.monotonic() < end):
            _kill(load, tally, chance)
        tally.errors = load.errors
    yield from _figures(tally)


def _kill(load: Load, tally: _Tally, chance: random.Random) -> None:
    healthy_s = HEALTHY_S + MARGIN_S if (tally.kills + 1) % AT_ONCE else 0.0
    time.sleep(healthy_s + chance.uniform(0.0, SPREAD_S))
    killed_s = load.kill_owner()
    tally.kills += 1
    tally.stuck += load.all_answered()
    for words in load.slots:
        # Its longest wait of this life is the outage, unless it had luck: then no wait ends after the kill.
        tally.outages_ns.append(max(0, words[Word.WAIT_END_NS] - round(killed_s * 1e9)))
    tally.compared(load.difference())


def _figures(tally: _Tally) -> Iterator[Figure]:
    of_all = f"of {tally.kills}"
    outages_ms = [outage / 1e6 for outage in (percentile(tally.outages_ns, 50), percentile(tally.outages_ns, 99))]
    about = f"the owner killed while {CALLERS} processes call it without a pause"
    yield Figure("owner_kills", tally.kills, f"of {KILLS}", about=about)
    about = "acknowledged changes that were gone"
    yield Figure("acknowledged_lost", tally.worst.missing, "changes", goal=at_most(0), about=about)
    yield Figure(
        "applied_twice", tally.worst.surplus, "changes", goal=at_most(0), about="changes that are there too often"
    )
    about = "kills after which counts, leases, backends and totals were those of the model"
    yield Figure("equal_to_model", tally.equal, of_all, goal=at_least(tally.kills), about=about)
    yield Figure("errors_of_callers", tally.errors, "errors", goal=at_most(0), about="errors that blocking callers saw")
    yield Figure("stuck_callers", tally.stuck, "callers", goal=at_most(0), about="callers without any more answers")
    about = "from the kill to a caller's first answer of the new owner"
    yield Figure("outage_p50", outages_ms[0], "ms", about=about)
    yield Figure("outage_p99", outages_ms[1], "ms", goal=at_most(500), about=about)
