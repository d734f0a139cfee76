"""Which services should be listed: a model that knows of each only when its heartbeats were sent and answered.

What the registry does happens somewhere between the two, so an age is known as a span, and so is what may be listed.
"""

from __future__ import annotations

import enum
import math
import threading
from collections import deque
from typing import NamedTuple

HEARTBEAT_TIMEOUT_S = 3.0
STALE_S = 6.0
CLEANUP_S = 1.0

NOTED_S = 1.5
"""After so long a change has certainly been noted: the owner looks twice a second, unless it has just been killed."""

REMOVED_S = 2 * CLEANUP_S + NOTED_S
"""After so long one that is stale has certainly been removed: a new owner begins its interval anew."""

TICK_S = 0.5
"""So much of the time before its end may be lost with an owner, if nothing else happened in it."""

SAVED_S = 2.5
"""So much of the heartbeats may be lost with the whole registry, together with the age of the others: they are saved
once a second, as far as the machine has the time."""


class Listed(enum.Enum):
    """How a service may appear in a list."""

    HEALTHY = enum.auto()
    UNHEALTHY = enum.auto()
    GONE = enum.auto()


class Span(NamedTuple):
    """Two instants or ages between which the true one lies."""

    least: float
    most: float


class Beat(NamedTuple):
    """A sign of life.

    Attributes:
        earliest: It was not before this instant.
        latest: It was not after this one.
        certain: Whether it has arrived at all.
    """

    earliest: float
    latest: float
    certain: bool = True


class Outages:
    """When there was no owner: no age runs then."""

    def __init__(self) -> None:
        self._spans: list[Span] = []

    def begins(self, now: float) -> None:
        """The owner was killed, just now."""
        self._spans.append(Span(now, math.inf))

    def ends(self, now: float) -> None:
        """There is another one, perhaps for a while already."""
        self._spans[-1] = Span(self._spans[-1].least, now)

    def are_over(self) -> None:
        """Nobody asks for a time before them any more."""
        self._spans.clear()

    def most_s(self, since: float) -> float:
        """How long an age of that time may have stood still."""
        return sum(most - least + TICK_S for least, most in self._spans if since <= least)


class Service:
    """What is known of one service; all instants are those of `CLOCK_MONOTONIC`.

    Args:
        name: Its name.
        outages: When no age ran.

    Attributes:
        name: Its name.
        gone: Whether it was seen to be removed; it does not come back by itself.
        falls: How often it should have been found silent between two heartbeats, at least and at most.
    """

    def __init__(self, name: str, outages: Outages) -> None:
        self.name = name
        self._outages = outages
        self.gone = False
        self.falls = Span(0, 0)
        self._beats: deque[Beat] = deque(maxlen=16)
        self._trying_since: float | None = None
        self._lock = threading.Lock()

    def __repr__(self) -> str:
        return f"{self.name} {'gone ' if self.gone else ''}{[*self._beats][-3:]}"

    @property
    def is_registered(self) -> bool:
        return bool(self._beats)

    @property
    def last_heard(self) -> float:
        """When its latest sign of life that has surely arrived had done so."""
        with self._lock:
            return max((beat.latest for beat in self._beats if beat.certain), default=-math.inf)

    def tries(self, now: float) -> None:
        """It sends a sign of life."""
        with self._lock:
            self._trying_since = now

    def failed(self, now: float) -> None:
        """Nobody knows whether it arrived; if so, before now."""
        with self._lock:
            assert self._trying_since is not None
            self._beats.append(Beat(self._trying_since, now, certain=False))
            self._trying_since = None

    def was_refused(self) -> None:
        """It has not arrived."""
        with self._lock:
            self._trying_since = None

    def was_heard(self, now: float) -> None:
        """It has arrived, before now."""
        with self._lock:
            assert self._trying_since is not None
            beat = Beat(self._trying_since, now)
            self._trying_since = None
            if self._beats:
                self._note_gap(beat)
            self._beats.append(beat)

    def _note_gap(self, beat: Beat) -> None:
        gap = Span(
            beat.earliest - max(self._as_if(one) for one in self._beats),
            beat.latest - max(one.earliest for one in self._beats if one.certain),
        )
        least, most = self.falls
        self.falls = Span(
            least + (gap.least >= HEARTBEAT_TIMEOUT_S + NOTED_S), most + (gap.most >= HEARTBEAT_TIMEOUT_S)
        )

    def may_be(self, asked: float, answered: float) -> set[Listed]:
        """How a list may show it that was asked for and answered at these instants."""
        if self.gone:
            return {Listed.GONE}
        age = self._age(asked, answered)
        states = set()
        if age.least < HEARTBEAT_TIMEOUT_S:
            states.add(Listed.HEALTHY)
        if age.most >= HEARTBEAT_TIMEOUT_S and age.least <= STALE_S + REMOVED_S:
            states.add(Listed.UNHEALTHY)
        if age.most > STALE_S:
            states.add(Listed.GONE)
        return states

    def _age(self, asked: float, answered: float) -> Span:
        with self._lock:
            beats = list(self._beats)
            trying_since = self._trying_since
        if trying_since is not None:
            beats.append(Beat(trying_since, answered, certain=False))
        latest = max(self._as_if(beat) for beat in beats if beat.earliest <= answered)
        earliest = max((beat.earliest for beat in beats if beat.certain and beat.latest <= asked), default=-1e9)
        return Span(max(0.0, asked - latest), answered - earliest)

    def _as_if(self, beat: Beat) -> float:
        """Its latest instant, put off by as long as its age may have stood still."""
        return beat.latest + self._outages.most_s(beat.earliest)

    def restarted(self, killed: float, launched: float, served: float) -> None:
        """The whole registry was killed, and started again from what it had saved: meanwhile no age ran."""
        with self._lock:
            sure = [beat for beat in self._beats if beat.certain]
            heard = max(self._as_if(beat) for beat in self._beats)
            at_most = killed - sure[-1].earliest
            for before, after in zip(sure, list(sure)[1:], strict=False):
                if after.latest > killed - SAVED_S:  # it may be lost; then what counts is the one before
                    at_most = max(at_most, after.latest - before.earliest)
            at_least = max(0.0, killed - SAVED_S - heard)
            self._beats.clear()
            self._beats.append(Beat(launched - at_most, served - at_least))
