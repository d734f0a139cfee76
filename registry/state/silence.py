"""Who has been silent for how long, so that those whose time has come are found without a look at the others."""

from __future__ import annotations

import math
from collections import OrderedDict

from registry.state.rules import HealthRules
from registry.state.service_records import BeatRecord, ServiceRecord

MOST_AT_ONCE = 500
"""So many are found silent, and so many stale, in one tick; the others are with the next."""

AGAIN_S = 5.0
"""After so long it is tried again to note what could not be stored, because the disk is full, say."""


class Oldest:
    """Names by instant. To give one the latest instant of all, as usual, costs the same however many there are.

    Attributes:
        instants: By name; in their order unless some were given earlier ones.
    """

    def __init__(self) -> None:
        self.instants: OrderedDict[str, float] = OrderedDict()
        self._latest = -math.inf
        self._in_order = True

    def put(self, name: str, instant: float) -> None:
        """Set the instant of a name."""
        if self.instants.get(name) == instant:
            return  # also where others have passed it by since
        self.instants[name] = instant
        self.instants.move_to_end(name)
        if instant < self._latest:
            self._in_order = False
        else:
            self._latest = instant

    def discard(self, name: str) -> None:
        """Forget a name."""
        self.instants.pop(name, None)

    def before(self, instant: float, most: int, *, or_at: bool) -> list[str]:
        """The names whose instants are before this one, or at it, the earliest first, and at most so many."""
        if not self._in_order:
            self.instants = OrderedDict(sorted(self.instants.items(), key=lambda item: item[1]))
            self._latest = next(reversed(self.instants.values()), -math.inf)
            self._in_order = True
        found: list[str] = []
        for name, at in self.instants.items():
            if at > instant or (at == instant and not or_at) or len(found) == most:
                break
            found.append(name)
        return found


class Silence:
    """Derived from the tables of services and heartbeats.

    Args:
        rules: How long who may be silent.

    Attributes:
        healthy: Those that are noted as healthy, by their latest heartbeat on the registry's own clock.
        all: All of them.
    """

    def __init__(self, rules: HealthRules) -> None:
        self._rules = rules
        self.healthy = Oldest()
        self.all = Oldest()
        self._cleanup_s: float | None = None
        self._tried: set[tuple[str, float]] = set()
        self._again_s = -math.inf

    def note(self, name: str, record: ServiceRecord | None, beat: BeatRecord | None) -> None:
        """A service has come, gone, changed, or given a sign of life."""
        lived_s = 0.0 if beat is None else beat.lived_s
        if record is None:
            self.all.discard(name)
        else:
            self.all.put(name, lived_s)
        if record is None or not record.is_healthy:
            self.healthy.discard(name)
        else:
            self.healthy.put(name, lived_s)

    def is_too_long(self, name: str, now_s: float) -> bool:
        """Whether one that is noted as healthy has been silent for too long to be."""
        return self.healthy.instants.get(name, math.inf) <= now_s - self._rules.heartbeat_timeout_s

    def is_stale(self, name: str, now_s: float) -> bool:
        """Whether one has been silent for so long that it is to be removed."""
        return self.all.instants.get(name, math.inf) < now_s - self._rules.stale_after_s

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
        found = {(name, self.healthy.instants[name]) for name in silent}
        found |= {(name, -self.all.instants[name]) for name in stale}
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
