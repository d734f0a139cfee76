"""What is due next, derived from the tables: a heap in which what is out of date is skipped when it comes up."""

from __future__ import annotations

from heapq import heapify, heappop, heappush

from registry.state.probe_records import Aim

_WANTED = -1.0
"""When that is due for which somebody waits: before everything else."""


class Agenda:
    """Targets by the instant at which they are due; those that are being probed are not among them.

    Attributes:
        filed: When each target that is not being probed is due.
    """

    def __init__(self) -> None:
        self.filed: dict[Aim, float] = {}
        self._due: dict[Aim, float] = {}
        self._claimed: set[Aim] = set()
        self._wanted: set[Aim] = set()
        self._heap: list[tuple[float, Aim]] = []

    def due(self, aim: Aim, due_s: float | None) -> None:
        """A target is due then; None if it is no target any more."""
        if due_s is None:
            self._due.pop(aim, None)
        else:
            self._due[aim] = due_s
        self._file(aim)

    def claimed(self, aim: Aim, is_claimed: bool) -> None:
        """A target is being probed, or not any more."""
        _note(self._claimed, aim, is_claimed)
        self._file(aim)

    def wanted(self, aim: Aim, is_wanted: bool) -> None:
        """Somebody waits for what is found of a target, or nobody does any more."""
        _note(self._wanted, aim, is_wanted)
        self._file(aim)

    def is_wanted(self, aim: Aim) -> bool:
        """Whether somebody waits for what is found of it."""
        return aim in self._wanted

    def first(self, now_s: float) -> Aim | None:
        """What is the most urgent of all that is due, if anything is."""
        heap = self._heap
        while heap:
            at_s, aim = heap[0]
            if self.filed.get(aim) == at_s:
                return aim if at_s <= now_s else None
            heappop(heap)
        return None

    def _file(self, aim: Aim) -> None:
        at_s = _WANTED if aim in self._wanted else self._due.get(aim)
        if at_s is None or aim in self._claimed:
            self.filed.pop(aim, None)
        elif self.filed.get(aim) != at_s:
            self.filed[aim] = at_s
            heappush(self._heap, (at_s, aim))
            if len(self._heap) > 2 * len(self.filed) + 100:
                self._heap = [(at_s, aim) for aim, at_s in self.filed.items()]
                heapify(self._heap)


def _note(aims: set[Aim], aim: Aim, is_in: bool) -> None:
    if is_in:
        aims.add(aim)
    else:
        aims.discard(aim)
