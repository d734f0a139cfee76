"""Who has been silent for how long, so that those whose time has come are found without a look at the others."""

from __future__ import annotations

import math
from collections.abc import Callable
from heapq import heapify, heappop, heappush

from registry.state.rules import HealthRules
from registry.state.service_records import ServiceRecord

MOST_AT_ONCE = 500
"""So many are found silent, and so many stale, in one tick; the others are with the next."""

AGAIN_S = 5.0
"""After so long it is tried again to note what could not be stored, because the disk is full, say."""

ROOM = 1_000
"""So many names that were forgotten are nothing to clear up."""

_Entry = tuple[float, int, str]
"""An instant, the order in which those of the same instant were noted, and the name."""


class Oldest:
    """Names by instant, the earliest first.

    That an instant has moved on, as those of heartbeats do all the time, need not be said: it is found out when the
    time noted here has come.

    Args:
        instant_of: The instant of a name as it is now.

    Attributes:
        noted: An instant of each name that is not after its own.
    """

    def __init__(self, instant_of: Callable[[str], float]) -> None:
        self._instant_of = instant_of
        self.noted: dict[str, float] = {}
        self._heap: list[_Entry] = []
        self._count = 0

    def put(self, name: str, instant: float) -> None:
        """Note a name, or that its instant is an earlier one than before."""
        if self.noted.get(name, math.inf) > instant:
            self._note(name, instant)

    def discard(self, name: str) -> None:
        """Forget a name."""
        self.noted.pop(name, None)

    def before(self, instant: float, most: int, *, or_at: bool) -> list[str]:
        """The names whose instants are before this one, or at it, the earliest first, and at most so many."""
        found: dict[str, _Entry] = {}
        heap = self._heap
        while heap and len(found) < most:
            at, _, name = entry = heap[0]
            if at > instant or (at == instant and not or_at):
                break
            heappop(heap)
            if self.noted.get(name) != at:
                continue  # it was forgotten, or noted anew
            now_at = self._instant_of(name)
            if now_at > at:
                self._note(name, now_at)
            else:
                found[name] = entry
        for entry in found.values():
            heappush(heap, entry)
        return list(found)

    def _note(self, name: str, instant: float) -> None:
        self.noted[name] = instant
        self._count += 1
        heappush(self._heap, (instant, self._count, name))
        if len(self._heap) > ROOM + 2 * len(self.noted):  # most of it is forgotten
            self._heap[:] = [(at, count, name) for count, (name, at) in enumerate(self.noted.items())]
            heapify(self._heap)


class Silence:
    """Derived from the tables of services and heartbeats.

    Args:
        rules: How long who may be silent.
        heard_s: When a service was last heard of, on the registry's own clock.

    Attributes:
        healthy: Those that are noted as healthy, by when they were last heard of.
        all: All of them.
    """

    def __init__(self, rules: HealthRules, heard_s: Callable[[str], float]) -> None:
        self._rules = rules
        self._heard_s = heard_s
        self.healthy = Oldest(heard_s)
        self.all = Oldest(heard_s)
        self._cleanup_s: float | None = None
        self._tried: set[tuple[str, float]] = set()
        self._again_s = -math.inf

    def note(self, name: str, record: ServiceRecord | None) -> None:
        """A service has come, gone or changed, or what was its latest sign of life is none any more."""
        if record is None:
            self.all.discard(name)
        else:
            self.all.put(name, self._heard_s(name))
        if record is None or not record.is_healthy:
            self.healthy.discard(name)
        else:
            self.healthy.put(name, self._heard_s(name))

    def is_too_long(self, name: str, now_s: float) -> bool:
        """Whether one that is noted as healthy has been silent for too long to be."""
        return name in self.healthy.noted and self._heard_s(name) <= now_s - self._rules.heartbeat_timeout_s

    def is_stale(self, name: str, now_s: float) -> bool:
        """Whether one has been silent for so long that it is to be removed."""
        return name in self.all.noted and self._heard_s(name) < now_s - self._rules.stale_after_s

    def due(self, now_s: float, monotonic_s: float) -> tuple[list[str], list[str]]:
        """Those that have been silent for too long to be healthy, and at each clean-up those to be removed.

        Args:
            now_s: The time on the registry's own clock.
            monotonic_s: `CLOCK_MONOTONIC`.
        """
        if monotonic_s < self._again_s:
            return [], []
        silent = self.healthy.before(now_s - self._rules.heartbeat_timeout_s, MOST_AT_ONCE, or_at=True)
        stale = self._cleanup(now_s)
        found = {(name, self.healthy.noted[name]) for name in silent}
        found |= {(name, -self.all.noted[name]) for name in stale}
        if found.isdisjoint(self._tried):
            self._tried = found
            return silent, stale
        self._tried = set()
        self._again_s = monotonic_s + AGAIN_S
        return [], []

    def _cleanup(self, now_s: float) -> list[str]:
        if self._cleanup_s is None:
            self._cleanup_s = now_s + self._rules.cleanup_interval_s
        if now_s < self._cleanup_s:
            return []
        stale = self.all.before(now_s - self._rules.stale_after_s, MOST_AT_ONCE, or_at=False)
        if not stale:
            self._cleanup_s = now_s + self._rules.cleanup_interval_s
        return stale
