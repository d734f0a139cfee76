"""What the registry must hold if every answered call was done once, beside what it does hold."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from bench.trials.board import BACKENDS, MAX_LEASES, OWN_BACKENDS, Word
from bench.trials.callers import backend_id, own_backend_id
from registry import Registry


@dataclass(frozen=True, slots=True)
class Holdings:
    """What callers hold and have done, or what the registry says of it.

    Attributes:
        leases: Numbers of the leases.
        counts: Increments on each backend.
        backends: Ids of the backends that callers have added and not removed.
        total: Requests that have ended.
        durable: Durable changes.
    """

    leases: frozenset[int]
    counts: tuple[int, ...]
    backends: frozenset[str]
    total: int
    durable: int


@dataclass(frozen=True, slots=True)
class Difference:
    """How the registry differs from what it must hold.

    Attributes:
        missing: Answered changes that are not there: they were lost.
        surplus: Changes that are there though nobody was answered so: they were done twice, or have leaked.
    """

    missing: int
    surplus: int

    def __bool__(self) -> bool:
        return bool(self.missing or self.surplus)


def expected(slots: Iterable[memoryview[int]]) -> Holdings:
    """What quiet callers have noted on the board, taken together."""
    slots = list(slots)
    leases = (words[Word.LEASES + number] for words in slots for number in range(MAX_LEASES))
    backends = (
        own_backend_id(slot, number)
        for slot, words in enumerate(slots)
        for number in range(OWN_BACKENDS)
        if words[Word.OWN] >> number & 1
    )
    return Holdings(
        frozenset(lease for lease in leases if lease),
        tuple(sum(words[Word.HELD + number] for words in slots) for number in range(BACKENDS)),
        frozenset(backends),
        sum(words[Word.TOTAL] for words in slots),
        sum(words[Word.DURABLE] for words in slots),
    )


def found(registry: Registry) -> Holdings:
    """What the registry says, at a moment when nobody changes it."""
    shared = [backend_id(number) for number in range(BACKENDS)]
    views = {view.id: view for view in registry.get_all_backends()}
    held = registry.get_leases()
    leased = [sum(lease.backend == id for lease in held) for id in shared]
    return Holdings(
        frozenset(lease.id for lease in held),
        tuple(views[id].pending_requests - count for id, count in zip(shared, leased, strict=True)),
        frozenset(views.keys() - shared),
        sum(views[id].total_requests for id in shared),
        registry.metrics().revision - BACKENDS,  # adding the shared ones were the first
    )


def compare(found: Holdings, expected: Holdings, *, totals: bool = True) -> Difference:
    """How two differ.

    Args:
        found: What the registry holds.
        expected: What it must hold.
        totals: Whether sums over all time count as well; those of processes that were killed are not known.

    >>> one = Holdings(frozenset({1, 2}), (3, 0), frozenset("a"), 9, 4)
    >>> two = Holdings(frozenset({2}), (2, 2), frozenset("a"), 10, 4)
    >>> compare(one, two)
    Difference(missing=3, surplus=2)
    >>> compare(one, two, totals=False)
    Difference(missing=2, surplus=2)
    """
    amounts = list(zip(found.counts, expected.counts, strict=True))
    if totals:
        amounts += [(found.total, expected.total), (found.durable, expected.durable)]
    missing = len(expected.leases - found.leases) + len(expected.backends - found.backends)
    surplus = len(found.leases - expected.leases) + len(found.backends - expected.backends)
    for is_, must in amounts:
        missing += max(0, must - is_)
        surplus += max(0, is_ - must)
    return Difference(missing, surplus)
