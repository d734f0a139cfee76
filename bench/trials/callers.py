"""What the worker processes of a trial do: they call, and note on the board what the answers say they hold."""

from __future__ import annotations

import random
import sys
import time
from collections.abc import Callable
from pathlib import Path

from actors.errors import CallError
from bench.trials.board import BACKENDS, END, MAX_LEASES, OWN_BACKENDS, Board, Common, Word
from registry import Backend, Lease, Registry

MODEL = "m"
"""What all the backends of a trial have that requests are given to."""

_LOOK_S = 0.001
"""How often a quiet caller looks whether it may go on."""

_MAX_HELD = 20
"""Increments that a caller keeps on one backend."""


def backend_id(number: int) -> str:
    """Id of one of the backends on which all count."""
    return f"shared-{number}"


def own_backend_id(slot: int, number: int) -> str:
    """Id of one of the backends that only this caller adds and removes."""
    return f"own-{slot}-{number}"


def call_for_ever(registry: Registry, board: Path, slot: int, seed: int, pause_s: float) -> None:
    """Call until the board says that it is over.

    Args:
        registry: Where to.
        board: The file of the board.
        slot: Which slot is this process's.
        seed: What it does follows from this.
        pause_s: It waits up to twice as long between two calls.
    """
    caller = _Caller(registry, Board(board), slot, random.Random(seed))
    while caller.may_go_on():
        caller.call()
        if pause_s:
            time.sleep(caller.chance.uniform(0.0, 2 * pause_s))


class _Caller:
    def __init__(self, registry: Registry, board: Board, slot: int, chance: random.Random) -> None:
        self.chance = chance
        self._registry = registry
        self._common = board.common
        self._words = board.slot(slot)
        self._slot = slot
        self._leases: list[Lease | None] = [None] * MAX_LEASES
        self._life = 0
        self._latest_ns = time.monotonic_ns()
        self._calls: list[Callable[[], None]] = [self._count, self._count, self._lease, self._lease, self._total]
        self._calls.append(self._change)

    def may_go_on(self) -> bool:
        """Whether there is more to do; waits while all are to be quiet."""
        phase = self._common[Common.PHASE]
        if phase & 1 and phase != END:
            self._words[Word.QUIET] = phase
            while self._common[Common.PHASE] == phase:
                time.sleep(_LOOK_S)
            self._latest_ns = time.monotonic_ns()
        return self._common[Common.PHASE] != END

    def call(self) -> None:
        """One call, whichever; its answer is noted, or its error."""
        try:
            self.chance.choice(self._calls)()
        except CallError as error:
            self._words[Word.ERRORS] += 1
            print(f"bench: caller {self._slot}: {type(error).__name__}: {error}", file=sys.stderr, flush=True)
        self._answered()

    def _answered(self) -> None:
        now_ns = time.monotonic_ns()
        words = self._words
        if self._common[Common.LIFE] != self._life:
            self._life = self._common[Common.LIFE]
            words[Word.WAIT_NS] = 0
        if now_ns - self._latest_ns > words[Word.WAIT_NS]:
            words[Word.WAIT_NS] = now_ns - self._latest_ns
            words[Word.WAIT_END_NS] = now_ns
        self._latest_ns = now_ns
        words[Word.ANSWERS] += 1

    def _count(self) -> None:
        """Increment or decrement; never one that belongs to somebody else."""
        number = self.chance.randrange(BACKENDS)
        word = Word.HELD + number
        held = self._words[word]
        if held < _MAX_HELD and (held == 0 or self.chance.random() < 0.5):
            self._registry.increment_pending(backend_id(number))
            self._words[word] += 1
        else:
            self._registry.decrement_pending(backend_id(number))
            self._words[word] -= 1

    def _lease(self) -> None:
        """Take a lease or give it back."""
        number = self.chance.randrange(MAX_LEASES)
        lease = self._leases[number]
        if lease is None:
            lease = self._leases[number] = self._registry.acquire(MODEL)
            self._words[Word.LEASES + number] = lease.id
        else:
            self._registry.release(lease)
            self._leases[number] = None
            self._words[Word.LEASES + number] = 0
            self._words[Word.TOTAL] += 1  # a request that was given back has ended

    def _total(self) -> None:
        """Count a request that has ended."""
        self._registry.increment_total_requests(backend_id(self.chance.randrange(BACKENDS)))
        self._words[Word.TOTAL] += 1

    def _change(self) -> None:
        """Add or remove a backend of its own: a durable change."""
        number = self.chance.randrange(OWN_BACKENDS)
        id = own_backend_id(self._slot, number)
        self._words[Word.CHANGING] = number + 1
        if self._words[Word.OWN] >> number & 1:
            self._registry.remove_backend(id)
        else:
            self._registry.add_backend(Backend(url=f"http://127.0.0.1:{20_000 + number}", id=id))
        self._words[Word.OWN] ^= 1 << number
        self._words[Word.DURABLE] += 1
        self._words[Word.CHANGING] = 0
