"""SIGKILL to workers at random points of what they do, while others work."""

from __future__ import annotations

import os
import random
import signal
import time
from collections.abc import Iterator
from contextlib import ExitStack

import msgspec

from bench.figures import Figure, at_most
from bench.trials.board import Word
from bench.trials.callers import MODEL, backend_id
from bench.trials.load import Load
from bench.trials.victims import Orders
from bench.trials.waiting import LOOK_S, PATIENCE_S

KILLS = 1_000

OTHERS = 8
"""Workers that go on."""

PAUSE_S = 0.005
"""The others think this long between two calls on average, or the victims would never get to start."""

TOGETHER = 4
"""Victims at one time."""

LIFE_S = 0.03
"""Longest life of a victim after its first answers; in a millisecond it does some twenty calls."""


def run(seconds: float, chance: random.Random) -> Iterator[Figure]:
    """Kill as many as there is time for, and see what is left of them."""
    end = time.monotonic() + seconds
    with ExitStack() as stack:
        load = Load(stack, OTHERS, chance, PAUSE_S)
        kills, mute = _kill(load, end, chance)
        stuck = load.all_answered()
        wait_ms = max(words[Word.WAIT_NS] for words in load.slots) / 1e6
        difference = load.difference(totals=False)
    about = f"workers killed in the midst of acquire, increment, release, while {OTHERS} others work"
    yield Figure("worker_kills", kills, f"of {KILLS}", about=about)
    yield Figure(
        "stuck_others", stuck, f"of {OTHERS}", goal=at_most(0), about="of those, how many get no answer any more"
    )
    yield Figure(
        "mute_victims", mute, "workers", goal=at_most(0), about="that never had the answers to be killed after"
    )
    yield Figure("errors_of_others", load.errors, "errors", goal=at_most(0), about="errors that they saw")
    yield Figure(
        "leaked", difference.surplus, "held", goal=at_most(0), about="leases and counts that the dead still hold"
    )
    yield Figure(
        "lost_by_others", difference.missing, "held", goal=at_most(0), about="leases and counts that others lost"
    )
    yield Figure("longest_wait_of_others", wait_ms, "ms", about="between two answers, with their own pauses")


class _Lane:
    """One victim after the other."""

    def __init__(self, load: Load, slot: int, chance: random.Random) -> None:
        self._load = load
        self._slot = slot
        self._words = load.board.slot(slot)
        self._chance = chance
        self._kill_at = 0.0
        self._give_up_at = 0.0
        self.start()

    def start(self) -> None:
        self._words[Word.PID] = self._words[Word.ANSWERS] = 0
        self._kill_at = 0.0
        self._give_up_at = time.monotonic() + PATIENCE_S
        orders = Orders(str(self._load.board.path), self._slot, MODEL, backend_id(self._chance.randrange(4)))
        self._load.spawn_light("bench.trials.victims:live", msgspec.msgpack.encode(orders))

    def kills(self) -> bool:
        """Whether the victim's time had come."""
        now = time.monotonic()
        if not self._kill_at:
            if self._words[Word.ANSWERS]:
                self._kill_at = now + self._chance.uniform(0.0, LIFE_S)
            return False
        if now < self._kill_at:
            return False
        os.kill(self._words[Word.PID], signal.SIGKILL)
        return True

    @property
    def gives_up(self) -> bool:
        """Whether the victim did not get to work in time; it is left to the end of the system."""
        return not self._kill_at and time.monotonic() > self._give_up_at


def _kill(load: Load, end: float, chance: random.Random) -> tuple[int, int]:
    """How many were killed, and how many were not because they never had an answer."""
    lanes = [_Lane(load, OTHERS + number, chance) for number in range(TOGETHER)]
    kills = mute = 0
    while lanes:
        for lane in list(lanes):
            if lane.kills():
                kills += 1
            elif lane.gives_up:
                mute += 1
            else:
                continue
            if kills + mute + len(lanes) <= KILLS and time.monotonic() < end:
                lane.start()
            else:
                lanes.remove(lane)
        time.sleep(LOOK_S)
    return kills, mute
