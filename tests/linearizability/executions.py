"""Histories made up: what one process alone would have answered, and how it looks when calls overlap."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from typing import Any

import msgspec
from hypothesis import strategies as st

from tests.linearizability.history import Operation
from tests.linearizability.model import END, RULES, Registry, step

Asked = tuple[int, str, tuple[Any, ...]]
"""Process, operation, arguments."""

BACKENDS, MODELS, PROCESSES = ("a", "b"), ("x", "y"), (1, 2, 3)

_backends = st.sampled_from(BACKENDS)
_models = st.lists(st.sampled_from(MODELS), unique=True).map(tuple)

ARGUMENTS: dict[str, st.SearchStrategy[tuple[Any, ...]]] = {
    "add_backend": st.tuples(_backends, _models, st.sampled_from(("healthy", "unhealthy"))),
    "remove_backend": st.tuples(_backends),
    "update_status": st.tuples(_backends, st.sampled_from(("healthy", "unhealthy")), st.sampled_from((None, "down"))),
    "update_models": st.tuples(_backends, _models),
    "increment_pending": st.tuples(_backends),
    "decrement_pending": st.tuples(_backends),
    "increment_total_requests": st.tuples(_backends),
    "update_latency": st.tuples(_backends, st.integers(0, 100)),
    "get_backend": st.tuples(_backends),
    "get_all_backends": st.tuples(),
    "get_healthy_backends": st.tuples(),
    "get_backends_for_model": st.tuples(st.sampled_from(MODELS)),
    "backend_count": st.tuples(),
    "acquire": st.tuples(st.sampled_from(MODELS)),
    "release": st.tuples(),  # of what the process holds; see `executed`
    END: st.tuples(),
}


def asked(*names: str) -> st.SearchStrategy[Asked]:
    """What a process may ask for, out of these."""
    processes = st.sampled_from(PROCESSES)
    return st.one_of([st.tuples(processes, st.just(name), ARGUMENTS[name]) for name in names])


def executed(wanted: Iterable[Asked]) -> list[Operation]:
    """What one process alone answers, a microsecond after the other, to those that have not ended."""
    state = Registry()
    done: list[Operation] = []
    for process, name, arguments in wanted:
        if process in state.ended:
            continue
        if name == "release":
            held = [one for one in sorted(state.leases) if one.process == process]
            arguments = (held[0].id, held[0].backend, None) if held else (1, "a", None)  # noqa: PLW2901 - made whole
        at_ns = 1_000 * (len(done) + 1)
        operation = Operation(process, name, arguments, at_ns)
        result, error, state = next(RULES[name](state, operation))
        done.append(msgspec.structs.replace(operation, returned_ns=at_ns, result=result, error=error))
    return done


@st.composite
def stretched(draw: st.DrawFn, operations: Sequence[Operation]) -> list[Operation]:
    """The same answers, each given at some moment between a call and a return; no process does two things at once."""
    called: dict[int, int] = {}
    returned: dict[int, int] = {}
    for process in PROCESSES:
        own = [at for at, operation in enumerate(operations) if operation.process == process]
        for before, after in itertools.pairwise([None, *own, None]):
            low = 0 if before is None else operations[before].called_ns
            high = 1_000 * (len(operations) + 1) if after is None else operations[after].called_ns
            cut = sorted((draw(st.integers(low, high)), draw(st.integers(low, high))))
            if before is not None:
                returned[before] = cut[0]
            if after is not None:
                called[after] = cut[1]
    return [
        msgspec.structs.replace(operation, called_ns=called[at], returned_ns=returned[at])
        for at, operation in enumerate(operations)
    ]


def forgotten(operation: Operation) -> Operation:
    """An operation whose process was killed before it returned."""
    return msgspec.structs.replace(operation, returned_ns=None, result=None, error="")


def definition(history: Sequence[Operation]) -> bool:
    """Whether a short history is linearizable, by its definition: all orders are tried."""
    known = [one for one in history if one.is_known]
    unknown = [one for one in history if not one.is_known]
    chosen = itertools.chain.from_iterable(itertools.combinations(unknown, size) for size in range(len(unknown) + 1))
    return any(_explains(order) for some in chosen for order in itertools.permutations([*known, *some]))


def _explains(order: Sequence[Operation]) -> bool:
    for before, after in itertools.combinations(order, 2):
        if after.returned_ns is not None and after.returned_ns < before.called_ns:
            return False
    states = {Registry()}
    for operation in order:
        states = {after for state in states for after in step(state, operation)}
    return bool(states)
