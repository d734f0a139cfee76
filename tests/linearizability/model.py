"""The registry as one process alone would be: what each operation may answer in each state, and what it leaves.

The names are those of `registry.Registry`'s methods, the arguments and results those of `recording.RecordedRegistry`;
`end` is the end of a process. The ids of models say which backends they are about: see `place`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

from tests.linearizability.history import Operation

END = "end"
"""The name of the end of a process, which gives back what the process held and after which it does nothing."""

HEALTHY = "healthy"


class Row(NamedTuple):
    """A backend without what is in flight on it."""

    id: str
    status: str
    error: str | None
    models: tuple[str, ...]
    total: int = 0
    average: int = 0


class Raw(NamedTuple):
    """The raw increments of one process."""

    backend: str
    process: int
    requests: int


class Held(NamedTuple):
    """A lease."""

    id: int
    backend: str
    process: int


class Registry(NamedTuple):
    """The whole state.

    Attributes:
        rows: The backends in order of their arrival.
        raw: All raw increments, none of them 0.
        leases: All leases.
        ended: The processes that have ended.
    """

    rows: tuple[Row, ...] = ()
    raw: frozenset[Raw] = frozenset()
    leases: frozenset[Held] = frozenset()
    ended: frozenset[int] = frozenset()

    def row(self, id: str) -> Row | None:
        """The backend of this id."""
        return next((row for row in self.rows if row.id == id), None)

    def having(self, model: str) -> list[Row]:
        """The backends that have a model."""
        return [row for row in self.rows if model in row.models]

    def pending(self, id: str) -> int:
        """How many requests are in flight on a backend."""
        raw = sum(one.requests for one in self.raw if one.backend == id)
        return raw + sum(one.backend == id for one in self.leases)

    def view(self, row: Row) -> tuple[Any, ...]:
        """A backend as a process sees it."""
        return row.id, row.status, row.error, row.models, self.pending(row.id), row.total, row.average

    def views(self, rows: Iterable[Row]) -> tuple[Any, ...]:
        """Several of them."""
        return tuple(self.view(row) for row in rows)

    def with_row(self, new: Row) -> Registry:
        """The state with another row for a backend that is there."""
        return self._replace(rows=tuple(new if row.id == new.id else row for row in self.rows))

    def with_raw(self, backend: str, process: int, amount: int) -> Registry:
        """The state with so many raw increments more."""
        old = next((one for one in self.raw if (one.backend, one.process) == (backend, process)), None)
        requests = amount + (old.requests if old else 0)
        others = self.raw - {old}
        return self._replace(raw=others | {Raw(backend, process, requests)} if requests else others)


Possible = tuple[Any, str, Registry]
"""An answer (a result, or the name of a refusal) and the state after it."""

Rule = Callable[[Registry, Operation], Iterator[Possible]]


def _moved_average(old: int, sample: int) -> int:
    return (sample + 4 * old) // 5 if old else sample


# -- operations on backends --------------------------------------------------------------------------------------


def _add(state: Registry, operation: Operation) -> Iterator[Possible]:
    id, models, status = operation.arguments
    if state.row(id):
        yield None, "DuplicateBackend", state
    else:
        yield None, "", state._replace(rows=(*state.rows, Row(id, status, None, models)))


def _of_one(change: Callable[[Registry, Row, Operation], Iterator[tuple[Any, Registry]]]) -> Rule:
    """An operation on a backend that must be there; its first argument is the id."""

    def rule(state: Registry, operation: Operation) -> Iterator[Possible]:
        row = state.row(operation.arguments[0])
        if row is None:
            yield None, "BackendNotFound", state
            return
        for result, after in change(state, row, operation):
            yield result, "", after

    return rule


def _remove(state: Registry, row: Row, _: Operation) -> Iterator[tuple[Any, Registry]]:
    yield (
        state.view(row),
        state._replace(
            rows=tuple(one for one in state.rows if one is not row),
            raw=frozenset(one for one in state.raw if one.backend != row.id),
        ),
    )


def _update_status(state: Registry, row: Row, operation: Operation) -> Iterator[tuple[Any, Registry]]:
    _, status, error = operation.arguments
    yield None, state.with_row(row._replace(status=status, error=None if status == HEALTHY else error))


def _update_models(state: Registry, row: Row, operation: Operation) -> Iterator[tuple[Any, Registry]]:
    yield None, state.with_row(row._replace(models=operation.arguments[1]))


def _increment_pending(state: Registry, row: Row, operation: Operation) -> Iterator[tuple[Any, Registry]]:
    after = state.with_raw(row.id, operation.process, 1)
    yield after.pending(row.id), after


def _decrement_pending(state: Registry, row: Row, operation: Operation) -> Iterator[tuple[Any, Registry]]:
    holders = {one.process: one.requests for one in state.raw if one.backend == row.id}
    if not holders:
        yield state.pending(row.id), state
        return
    most = max(holders.values())
    own = operation.process in holders
    for holder in [operation.process] if own else [one for one, held in holders.items() if held == most]:
        after = state.with_raw(row.id, holder, -1)
        yield after.pending(row.id), after


def _increment_total(state: Registry, row: Row, _: Operation) -> Iterator[tuple[Any, Registry]]:
    yield row.total + 1, state.with_row(row._replace(total=row.total + 1))


def _update_latency(state: Registry, row: Row, operation: Operation) -> Iterator[tuple[Any, Registry]]:
    average = _moved_average(row.average, operation.arguments[1])
    yield average, state.with_row(row._replace(average=average))


# -- reads -------------------------------------------------------------------------------------------------------


def _get_one(state: Registry, operation: Operation) -> Iterator[Possible]:
    row = state.row(operation.arguments[0])
    yield None if row is None else state.view(row), "", state


def _get_all(state: Registry, _: Operation) -> Iterator[Possible]:
    yield state.views(state.rows), "", state


def _get_healthy(state: Registry, _: Operation) -> Iterator[Possible]:
    yield state.views(row for row in state.rows if row.status == HEALTHY), "", state


def _get_for_model(state: Registry, operation: Operation) -> Iterator[Possible]:
    yield state.views(sorted(state.having(operation.arguments[0]))), "", state


def _count(state: Registry, _: Operation) -> Iterator[Possible]:
    yield len(state.rows), "", state


# -- leases ------------------------------------------------------------------------------------------------------


def _acquire(state: Registry, operation: Operation) -> Iterator[Possible]:
    having = state.having(operation.arguments[0])
    healthy = [row.id for row in having if row.status == HEALTHY]
    if not healthy:
        yield None, "NoBackendAvailable" if having else "ModelNotFound", state
        return
    # Its number is the owner's to choose; of one that nobody has seen, the negative instant of the call.
    lease = operation.result[0] if operation.result else -operation.called_ns
    fewest = min(map(state.pending, healthy))
    for id in healthy:
        if state.pending(id) == fewest:
            yield (lease, id), "", state._replace(leases=state.leases | {Held(lease, id, operation.process)})


def _release(state: Registry, operation: Operation) -> Iterator[Possible]:
    lease, backend, latency_ms = operation.arguments
    held = Held(lease, backend, operation.process)
    if held not in state.leases:
        yield None, "LeaseNotFound", state
        return
    after = state._replace(leases=state.leases - {held})
    if row := state.row(backend):
        average = row.average if latency_ms is None else _moved_average(row.average, latency_ms)
        after = after.with_row(row._replace(total=row.total + 1, average=average))
    yield None, "", after


def _end(state: Registry, operation: Operation) -> Iterator[Possible]:
    yield (
        None,
        "",
        state._replace(
            raw=frozenset(one for one in state.raw if one.process != operation.process),
            leases=frozenset(one for one in state.leases if one.process != operation.process),
            ended=state.ended | {operation.process},
        ),
    )


RULES: dict[str, Rule] = {
    "add_backend": _add,
    "remove_backend": _of_one(_remove),
    "update_status": _of_one(_update_status),
    "update_models": _of_one(_update_models),
    "increment_pending": _of_one(_increment_pending),
    "decrement_pending": _of_one(_decrement_pending),
    "increment_total_requests": _of_one(_increment_total),
    "update_latency": _of_one(_update_latency),
    "get_backend": _get_one,
    "get_all_backends": _get_all,
    "get_healthy_backends": _get_healthy,
    "get_backends_for_model": _get_for_model,
    "backend_count": _count,
    "acquire": _acquire,
    "release": _release,
    END: _end,
}

CHANGED_NOTHING = "CommandCrashedOwner"
"""The refusal of any command that was at work when an owner died, twice over."""


def step(state: Registry, operation: Operation) -> Iterator[Registry]:
    """The states in which an operation with this answer may leave a state; see `checker.Step`."""
    if operation.process in state.ended:
        return
    if operation.error == CHANGED_NOTHING:
        yield state
        return
    for result, error, after in RULES[operation.name](state, operation):
        if not operation.is_known or (result, error) == (operation.result, operation.error):
            yield after


# -- partitions --------------------------------------------------------------------------------------------------


def place(operation: Operation) -> str | None:
    """The one backend that an operation is about; None if it is about all of them, or about none.

    A model `a/m` is one that no other backend than `a` ever has, a model without a slash may be anybody's.
    """
    match operation.name:
        case "release":
            return str(operation.arguments[1])
        case "acquire" | "get_backends_for_model":
            backend, slash, _ = str(operation.arguments[0]).partition("/")
            return backend if slash else None
        case "get_all_backends" | "get_healthy_backends" | "backend_count" | "end":
            return None
        case _:
            return str(operation.arguments[0])


def partitions(history: Iterable[Operation]) -> list[list[Operation]]:
    """Parts of a history that can be checked apart: one for each backend, if each operation is about one.

    Linearizability is local (Herlihy and Wing, 1990): the whole is linearizable if each part is. The end of a process
    belongs to each part, and is in each at its own moment; so only the undivided history tells whether it is one.
    """
    history = list(history)
    ends = [operation for operation in history if operation.name == END]
    others = [operation for operation in history if operation.name != END]
    parts: dict[str, list[Operation]] = {}
    for operation in others:
        backend = place(operation)
        if backend is None:
            return [history]
        parts.setdefault(backend, []).append(operation)
    return [[*part, *ends] for part in parts.values()]
