"""The checker: it accepts what one process alone could have answered, and nothing else."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.linearizability.checker import check
from tests.linearizability.executions import (
    ARGUMENTS,
    PROCESSES,
    Asked,
    asked,
    definition,
    executed,
    forgotten,
    stretched,
)
from tests.linearizability.history import Operation
from tests.linearizability.model import END, Registry, step

ADDED = Operation(0, "add_backend", ("a", ("x",), "healthy"), 1, 2)
"""All small histories begin with this."""


def is_linearizable(*history: Operation, begin: Sequence[Operation] = (ADDED,)) -> bool:
    """What the checker says."""
    return check([*begin, *history], Registry(), step).linearizable


def add(process: int, called: int, returned: int | None, error: str = "") -> Operation:
    """Somebody adds another backend."""
    return Operation(process, "add_backend", ("b", (), "healthy"), called, returned, None, error)


def increment(process: int, called: int, returned: int | None, result: int | None) -> Operation:
    """Somebody counts a request on the backend."""
    return Operation(process, "increment_pending", ("a",), called, returned, result)


def get(process: int, called: int, returned: int, pending: int, status: str = "healthy") -> Operation:
    """Somebody sees so many requests on the backend."""
    result = ("a", status, None, ("x",), pending, 0, 0)
    return Operation(process, "get_backend", ("a",), called, returned, result)


def count(process: int, called: int, returned: int, result: int) -> Operation:
    """Somebody sees so many backends."""
    return Operation(process, "backend_count", (), called, returned, result)


def update_status(process: int, called: int, returned: int, status: str) -> Operation:
    """Somebody notes a status."""
    return Operation(process, "update_status", ("a", status, None), called, returned)


def end(process: int, called: int, returned: int) -> Operation:
    """Somebody is killed, and that is seen."""
    return Operation(process, END, (), called, returned)


def test_nothing_has_happened() -> None:
    """An empty history is linearizable."""
    assert is_linearizable(begin=())


def test_stale_read_is_refused() -> None:
    """Who reads after an answer sees what it told; who reads at the same time may see the old or the new."""
    assert not is_linearizable(increment(1, 10, 20, 1), get(2, 30, 40, 0))
    assert is_linearizable(increment(1, 10, 20, 1), get(2, 30, 40, 1))
    for pending in (0, 1):
        assert is_linearizable(increment(1, 10, 50, 1), get(2, 30, 40, pending))


def test_reads_that_go_back_are_refused() -> None:
    """What one reader has seen, a later one sees as well, although the change itself has not returned yet."""
    change = increment(1, 10, 100, 1)
    assert is_linearizable(change, get(2, 20, 30, 0), get(3, 40, 50, 1))
    assert not is_linearizable(change, get(2, 20, 30, 1), get(3, 40, 50, 0))
    assert is_linearizable(change, get(2, 20, 45, 1), get(3, 40, 50, 0))


def test_lost_increment_is_refused() -> None:
    """Two increments do not have the same answer, not even at one time."""
    assert not is_linearizable(increment(1, 10, 50, 1), increment(2, 20, 40, 1))
    assert is_linearizable(increment(1, 10, 50, 2), increment(2, 20, 40, 1))
    assert not is_linearizable(increment(1, 10, 20, 2), increment(2, 20 + 1, 40, 1))


def test_command_done_twice_is_refused() -> None:
    """An increment that was sent again and done again shows in its own answer, or in the next one's."""
    assert not is_linearizable(increment(1, 10, 90, 2))
    assert not is_linearizable(increment(1, 10, 90, 1), increment(1, 91, 95, 3))


def test_two_adds_of_one_backend_do_not_both_succeed() -> None:
    """One of them is refused, whichever."""
    assert not is_linearizable(add(1, 10, 50), add(2, 20, 40))
    assert is_linearizable(add(1, 10, 50), add(2, 20, 40, "DuplicateBackend"))
    assert is_linearizable(add(1, 10, 50, "DuplicateBackend"), add(2, 20, 40))
    assert not is_linearizable(add(1, 10, 50, "DuplicateBackend"), add(2, 60, 70))


def test_order_of_changes_at_one_time_is_what_later_reads_tell() -> None:
    """Two changes of one thing may have come in either order; all later reads see the same one."""
    changes = update_status(1, 10, 50, "healthy"), update_status(2, 10, 50, "unhealthy")
    for status in ("healthy", "unhealthy"):
        assert is_linearizable(*changes, get(3, 60, 70, 0, status))
    assert not is_linearizable(*changes, get(3, 60, 70, 0, "healthy"), get(3, 80, 90, 0, "unhealthy"))


def test_what_was_tried_is_not_tried_again() -> None:
    """Where the order of many operations makes no difference, not all orders are tried."""
    together = [update_status(process, 10, 50, "healthy") for process in range(10)]
    verdict = check([ADDED, *together, get(1, 60, 70, 1)], Registry(), step)
    assert not verdict.linearizable
    assert verdict.tried <= 2 + 2 ** len(together)


def test_instants_that_are_equal_are_at_one_time() -> None:
    """A call at the instant of another's return may have come first: the clock does not tell."""
    assert is_linearizable(increment(1, 10, 20, 2), increment(2, 20, 30, 1))


def test_operation_without_a_return_may_have_happened_or_not() -> None:
    """What a killed process asked for last is seen from some moment on, or never."""
    killed = add(1, 10, None)
    assert is_linearizable(killed)
    assert is_linearizable(killed, count(2, 20, 30, 1), count(2, 40, 50, 1))
    assert is_linearizable(killed, count(2, 20, 30, 1), count(2, 40, 50, 2))
    assert is_linearizable(killed, count(2, 20, 30, 2), count(2, 40, 50, 2))
    assert not is_linearizable(killed, count(2, 20, 30, 2), count(2, 40, 50, 1))
    assert not is_linearizable(killed, count(2, 4, 5, 2))


def test_process_that_ends_gives_back_what_it_held() -> None:
    """Somewhere after its kill and before its end is seen, and not only in part."""
    held = increment(1, 10, 20, 1), end(1, 50, 60)
    assert is_linearizable(*held, get(2, 30, 40, 1), get(2, 70, 80, 0))
    assert is_linearizable(*held, get(2, 52, 54, 1), get(2, 56, 58, 0))
    assert not is_linearizable(*held, get(2, 30, 40, 0))
    assert not is_linearizable(*held, get(2, 70, 80, 1))
    assert not is_linearizable(*held, get(2, 52, 54, 0), get(2, 56, 58, 1))
    lease = Operation(1, "acquire", ("x",), 30, 40, (7, "a"))
    assert is_linearizable(*held, lease, get(2, 70, 80, 0))
    assert not is_linearizable(*held, lease, get(2, 70, 80, 1))


def test_process_that_has_ended_does_nothing_more() -> None:
    """What it asked for last happens before its end or never; so nothing of it is held afterwards."""
    killed = increment(1, 40, None, None), end(1, 50, 60)
    assert is_linearizable(*killed, get(2, 42, 48, 1), get(2, 70, 80, 0))
    assert not is_linearizable(*killed, get(2, 70, 80, 1))


def test_refused_because_an_owner_died_of_it_changes_nothing() -> None:
    """The refusal of a command that is to blame for an owner's death can come at any time."""
    refused = Operation(1, "increment_pending", ("a",), 10, 20, None, "CommandCrashedOwner")
    assert is_linearizable(refused, get(2, 30, 40, 0))
    assert not is_linearizable(refused, get(2, 30, 40, 1))


@pytest.mark.parametrize(("chosen", "right"), [("a", False), ("b", True)])
def test_choice_of_a_busy_backend_is_refused(chosen: str, *, right: bool) -> None:
    """A lease is for a backend with the fewest requests in flight."""
    other = Operation(0, "add_backend", ("b", ("x",), "healthy"), 3, 4)
    granted = Operation(2, "acquire", ("x",), 30, 40, (7, chosen))
    assert is_linearizable(other, increment(1, 10, 20, 1), granted) is right


def test_lease_is_released_once_and_by_its_holder() -> None:
    """Nobody else has it, and it counts until then."""
    granted = Operation(1, "acquire", ("x",), 10, 20, (7, "a"))

    def release(process: int, called: int, error: str) -> Operation:
        return Operation(process, "release", (7, "a", None), called, called + 5, None, error)

    again = release(1, 70, "LeaseNotFound")
    assert is_linearizable(granted, get(2, 30, 40, 1), release(1, 50, ""), again)
    assert not is_linearizable(granted, release(1, 50, ""), release(1, 70, ""))
    assert not is_linearizable(granted, release(2, 50, ""))
    assert is_linearizable(granted, release(2, 50, "LeaseNotFound"), release(1, 60, ""))


def test_own_increments_are_taken_first() -> None:
    """Who has any gives one of its own back, though another one has more."""
    held = increment(1, 10, 11, 1), increment(2, 12, 13, 2), increment(2, 14, 15, 3)
    taken = Operation(1, "decrement_pending", ("a",), 20, 21, 2)
    assert is_linearizable(*held, taken, end(2, 30, 31), get(3, 40, 41, 0))
    assert not is_linearizable(*held, taken, end(2, 30, 31), get(3, 40, 41, 1))


def test_foreign_increments_are_taken_from_whoever_has_most() -> None:
    """Of two that have as many it may be either, and the end of one shows whose it was."""
    held = increment(1, 10, 11, 1), increment(2, 12, 13, 2)
    taken = Operation(3, "decrement_pending", ("a",), 20, 21, 1)
    for left in (0, 1):
        assert is_linearizable(*held, taken, end(1, 30, 31), get(3, 40, 41, left))
    more = increment(1, 14, 15, 3)
    taken = msgspec.structs.replace(taken, result=2)
    assert is_linearizable(*held, more, taken, end(1, 30, 31), get(3, 40, 41, 1))
    assert not is_linearizable(*held, more, taken, end(1, 30, 31), get(3, 40, 41, 0))


def test_refusal_is_explained() -> None:
    """Who reads it learns what has no place, and after what."""
    verdict = check([ADDED, increment(1, 10, 20, 1), get(2, 30, 40, 0)], Registry(), step)
    assert verdict.blocked == get(2, 30, 40, 0)
    assert verdict.order == [ADDED, increment(1, 10, 20, 1)]
    assert "get_backend" in verdict.explain().splitlines()[1]


# -- properties ----------------------------------------------------------------------------------------------------

BEGIN: Asked = (0, "add_backend", ("a", ("x",), "healthy"))
ANY, NO_ENDS = sorted(ARGUMENTS), sorted(ARGUMENTS.keys() - {END})


def after_begin(wanted: list[Asked]) -> list[Operation]:
    """An execution that begins with a backend, long before everything else."""
    begin, *others = executed([BEGIN, *wanted])
    return [msgspec.structs.replace(begin, called_ns=-2, returned_ns=-1), *others]


def executions(names: list[str], most: int) -> st.SearchStrategy[list[Operation]]:
    """Executions of a few operations."""
    return st.lists(asked(*names), min_size=1, max_size=most).map(after_begin)


@given(data=st.data(), operations=executions(ANY, 30))
@settings(max_examples=100, deadline=None)
def test_every_execution_passes_however_its_calls_overlap(data: st.DataObject, operations: list[Operation]) -> None:
    """What was answered in one order is linearizable, also if some processes were killed before they heard it."""
    begin, *others = operations
    history = data.draw(stretched(others))
    for process in PROCESSES:
        own = [at for at, one in enumerate(history) if one.process == process and one.name != END]
        if data.draw(st.booleans()) and own:
            history[own[-1]] = forgotten(history[own[-1]])
    verdict = check(data.draw(st.permutations([begin, *history])), Registry(), step)
    assert verdict.linearizable, verdict.explain()


def changed(operation: Operation) -> Operation:
    """The same operation with another answer, such as there are."""
    result: Any = operation.result
    if isinstance(result, int):
        return msgspec.structs.replace(operation, result=result + 1)
    if operation.name in {"get_backend", "remove_backend"} and result:
        *head, pending, total, average = result
        return msgspec.structs.replace(operation, result=(*head, pending + 1, total, average))
    other = "" if operation.error else "BackendNotFound"
    return msgspec.structs.replace(operation, result=None, error=other)


@given(data=st.data(), operations=executions(NO_ENDS, 30))
@settings(max_examples=100, deadline=None)
def test_changed_answer_fails(data: st.DataObject, operations: list[Operation]) -> None:
    """Where nothing overlaps, there is one right answer to each operation."""
    at = data.draw(st.integers(1, len(operations) - 1))
    operations[at] = changed(operations[at])
    verdict = check(operations, Registry(), step)
    assert not verdict.linearizable
    assert verdict.order == operations[:at]
    assert verdict.blocked == operations[at]


@given(data=st.data(), processes=st.lists(st.sampled_from(PROCESSES), min_size=1, max_size=30))
@settings(max_examples=100, deadline=None)
def test_changed_count_fails_however_its_calls_overlap(data: st.DataObject, processes: list[int]) -> None:
    """The answers of increments are all numbers up to theirs, once each: no other number has a place."""
    begin, *others = after_begin([(process, "increment_pending", ("a",)) for process in processes])
    history = data.draw(stretched(others))
    assert is_linearizable(*history, begin=[begin])
    at = data.draw(st.integers(0, len(history) - 1))
    wrong = data.draw(st.integers(0, len(history) + 1).filter(lambda number: number != history[at].result))
    history[at] = msgspec.structs.replace(history[at], result=wrong)
    assert not is_linearizable(*history, begin=[begin])


@given(data=st.data(), operations=executions(ANY, 5))
@settings(max_examples=300, deadline=None)
def test_verdict_is_that_of_the_definition(data: st.DataObject, operations: list[Operation]) -> None:
    """Of short histories, right and wrong, all orders are tried: the checker says the same."""
    begin, *others = operations
    history = data.draw(stretched(others))
    for at, operation in enumerate(history):
        change = data.draw(st.sampled_from((None, None, None, changed, forgotten)))
        history[at] = operation if change is None else change(operation)
    history = [begin, *history]
    assert check(history, Registry(), step).linearizable is definition(history)


def test_long_history_is_checked_in_about_as_many_steps() -> None:
    """Thousands of operations of a few processes do not make the search explode."""
    processes = 8
    chance = random.Random(1)
    operations = after_begin([(at % processes, "increment_pending", ("a",)) for at in range(4_000)])
    reach_ns = 500 * processes  # up to half of the way to the process's next operation, and from the one before
    history = [
        msgspec.structs.replace(
            one,
            called_ns=one.called_ns - chance.randrange(reach_ns),
            returned_ns=one.called_ns + chance.randrange(reach_ns),
        )
        for one in operations
    ]
    verdict = check(history, Registry(), step)
    assert verdict.linearizable, verdict.explain()
    assert verdict.tried < 2 * len(history)
