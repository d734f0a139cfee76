"""Is a history linearizable? Could one process alone, doing one thing after the other, have given these answers?

The search of Wing and Gong (1993) with the memory of Lowe (2017), in the form of Porcupine: it takes operations one by
one from a list of calls and returns in order of time, each between its call and its return, and goes back where the
specification has no such answer. What was tried is remembered: the set of operations taken, and the states it led to.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Sequence
from typing import TypeVar

import msgspec

from tests.linearizability.history import Operation

State = TypeVar("State", bound=Hashable)

Step = Callable[[State, Operation], Iterable[State]]
"""The specification: the states in which an operation may leave a state, given its answer; none if it has no such
answer there. Of one whose answer nobody knows, all states that any answer leads to."""


class Verdict(msgspec.Struct, frozen=True):
    """What the search has found.

    Attributes:
        linearizable: Whether there is an order.
        order: The order; the longest beginning of one if there is none.
        blocked: What has no place after that beginning though it has returned; None if there is an order.
        tried: How many configurations were looked at.
    """

    linearizable: bool
    order: list[Operation]
    blocked: Operation | None
    tried: int

    def explain(self, last: int = 20) -> str:
        """For people: what is wrong, and the latest operations before it."""
        if self.linearizable:
            return f"linearizable: {len(self.order)} operations, {self.tried} configurations"
        lines = [f"not linearizable: after {len(self.order)} operations there is no place for", f"  {self.blocked}"]
        return "\n".join([*lines, "the latest before it:", *(f"  {operation}" for operation in self.order[-last:])])


class _Entry:
    """A call or a return in a doubly linked list, in order of time.

    Attributes:
        operation: Whose it is.
        bit: The operation's place in a set of operations; 0 for a return.
        returned: Of a call, its return; None for a return, and for an operation that nobody saw return.
        previous: The entry before it.
        next: The entry after it; None for the last one.
    """

    __slots__ = ("bit", "next", "operation", "previous", "returned")

    def __init__(self, operation: Operation, bit: int) -> None:
        self.operation = operation
        self.bit = bit
        self.returned: _Entry | None = None
        self.previous = self
        self.next: _Entry | None = None

    def remove(self) -> None:
        """Take it out of the list; it remembers its place."""
        self.previous.next = self.next
        if self.next is not None:
            self.next.previous = self.previous

    def put_back(self) -> None:
        """Undo the latest `remove` that is not undone yet."""
        self.previous.next = self
        if self.next is not None:
            self.next.previous = self


def _linked(history: Sequence[Operation]) -> _Entry:
    """The head of a list of all calls and returns; it stands for no operation itself."""
    timed: list[tuple[int, int, _Entry]] = []
    for at, operation in enumerate(sorted(history, key=lambda one: one.called_ns)):
        call = _Entry(operation, 1 << at)
        timed.append((operation.called_ns, 0, call))
        if operation.returned_ns is not None:
            call.returned = _Entry(operation, 0)
            timed.append((operation.returned_ns, 1, call.returned))
    head = last = _Entry(Operation(0, "", (), 0), 0)
    for _, _, entry in sorted(timed, key=lambda one: one[:2]):  # at one instant calls come first: they may overlap
        last.next = entry
        entry.previous = last
        last = entry
    return head


def check(history: Sequence[Operation], initial: State, step: Step[State]) -> Verdict:
    """Look for an order of a history that explains all its answers.

    Args:
        history: All operations; those of one process follow each other.
        initial: The state before all of them.
        step: The specification.
    """
    head = _linked(history)
    left = sum(operation.is_known for operation in history)
    taken = 0
    states = frozenset((initial,))
    seen = {(taken, states)}
    path: list[tuple[_Entry, frozenset[State]]] = []
    longest: list[Operation] = []
    blocked: Operation | None = None
    entry = head.next
    while left:
        assert entry is not None  # what is left has a return, and that is still in the list
        if entry.bit:
            after = frozenset(state for before in states for state in step(before, entry.operation))
            configuration = (taken | entry.bit, after)
            if after and configuration not in seen:
                seen.add(configuration)
                path.append((entry, states))
                taken, states = configuration
                left -= entry.operation.is_known
                _take(entry)
                entry = head.next
            else:
                entry = entry.next
            continue
        if blocked is None or len(path) > len(longest):
            longest = [one.operation for one, _ in path]
            blocked = entry.operation
        if not path:
            return Verdict(False, longest, blocked, len(seen))
        entry, states = path.pop()
        taken ^= entry.bit
        left += entry.operation.is_known
        _give_back(entry)
        entry = entry.next
    return Verdict(True, [one.operation for one, _ in path], None, len(seen))


def _take(call: _Entry) -> None:
    call.remove()
    if call.returned is not None:
        call.returned.remove()


def _give_back(call: _Entry) -> None:
    if call.returned is not None:
        call.returned.put_back()
    call.put_back()
