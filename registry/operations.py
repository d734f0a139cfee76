"""Every operation of the registry, written once, for both faces.

An operation turns its arguments into a command and says how the answer is read. `Registry` (blocking) and
`AsyncRegistry` (asyncio) inherit them all; a face adds only the waiting.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Coroutine, Iterable, Sequence
from typing import Any, Generic, ParamSpec, Self, TypeVar, overload

import msgspec

from actors.client import DEFAULT_TIMEOUT_S
from actors.errors import CallError
from registry import commands as c
from registry.errors import InvalidField
from registry.kinds import BackendStatus, Outcome
from registry.metrics import Metrics
from registry.models import Backend, BackendView, Lease, Model
from registry.state.records import BackendState, Grant, HeldLease

P = ParamSpec("P")
T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)

_encode = msgspec.msgpack.Encoder().encode


class Call(Generic[T_co]):
    """A command, and how its answer is read.

    Args:
        command: What the owner is told.
        result: The type of the encoded answer.
        read: Makes the operation's result of it.
        timeout: Longest wait in seconds.
        changes: Whether the command changes anything.
        on_orphan: Makes the command that gives back an answer which comes too late.
        inert: Whether there is nothing to be asked, and the answer is None.
    """

    __slots__ = ("changes", "command", "inert", "on_orphan", "read", "timeout")

    def __init__(
        self,
        command: c.Command,
        read: Callable[[msgspec.Raw], T_co],
        *,
        timeout: float = DEFAULT_TIMEOUT_S,
        changes: bool = True,
        on_orphan: Callable[[msgspec.Raw], bytes | None] | None = None,
        inert: bool = False,
    ) -> None:
        try:
            self.command = _encode(command)
        except (TypeError, ValueError, OverflowError) as error:
            raise _why_not_encoded(command) from error
        self.read = read
        self.timeout = timeout
        self.changes = changes
        self.on_orphan = on_orphan
        self.inert = inert


def _why_not_encoded(command: c.Command) -> InvalidField:
    for field in command.__struct_fields__:
        try:
            _encode(getattr(command, field))
        except (TypeError, ValueError, OverflowError) as error:
            return InvalidField(field, f"cannot be sent: {error}")
    return InvalidField("", "cannot be sent")


NOTHING = msgspec.Raw(b"\xc0")
"""The answer None, encoded."""


def results_of(calls: Sequence[Call[Any]], outcomes: Iterable[msgspec.Raw | CallError]) -> list[Any]:
    """The results of a batch in order, with the error in place of each result of a call that was refused."""
    answered = iter(outcomes)
    return [call.read(NOTHING) if call.inert else _result(call, next(answered)) for call in calls]


def _result(call: Call[T], outcome: msgspec.Raw | CallError) -> T | CallError:
    return call.read(outcome) if isinstance(outcome, msgspec.Raw) else outcome


class BlockingFace:
    """A face whose operations return their results."""

    def perform(self, call: Call[T]) -> T:
        """Ask, wait, and read the answer."""
        raise NotImplementedError


class AsyncFace:
    """A face whose operations are awaited."""

    async def perform(self, call: Call[T]) -> T:
        """Ask, await, and read the answer."""
        raise NotImplementedError


class operation(Generic[P, T]):  # noqa: N801 - used as a decorator
    """Makes a method of both faces from a function that makes a `Call`."""

    def __init__(self, make: Callable[P, Call[T]]) -> None:
        self._make = make
        functools.update_wrapper(self, make)  # type: ignore[arg-type]  # an instance may stand for a function here

    def call(self, *args: P.args, **kwargs: P.kwargs) -> Call[T]:
        """The operation without its being done, for a batch; see `Registry.batch`."""
        return self._make(*args, **kwargs)

    def __set_name__(self, cls: type, name: str) -> None:
        self._name = name

    @overload
    def __get__(self, face: None, cls: type) -> Self: ...
    @overload
    def __get__(self, face: BlockingFace, cls: type) -> Callable[P, T]: ...
    @overload
    def __get__(self, face: AsyncFace, cls: type) -> Callable[P, Coroutine[Any, Any, T]]: ...
    def __get__(self, face: BlockingFace | AsyncFace | None, cls: type) -> Any:
        if face is None:
            return self
        make = self._make
        perform = face.perform

        def method(*args: P.args, **kwargs: P.kwargs) -> Any:
            return perform(make(*args, **kwargs))

        # From now on the face finds the method in itself and does not come here again.
        face.__dict__[self._name] = functools.update_wrapper(method, make)
        return method


def _reader(type: Any) -> Callable[[msgspec.Raw], Any]:
    return msgspec.msgpack.Decoder(type).decode


_none = _reader(None)
_int = _reader(int)
_bool = _reader(bool)
_names = _reader(list[str])
_counts = _reader(tuple[int, int])
_state = _reader(BackendState)
_state_or_none = _reader(BackendState | None)
_states = _reader(list[BackendState])
_grant = _reader(Grant)
_leases = _reader(list[HeldLease])
_metrics = _reader(Metrics)


def _view(raw: msgspec.Raw) -> BackendView:
    return BackendView.of(_state(raw))


def _view_or_none(raw: msgspec.Raw) -> BackendView | None:
    state = _state_or_none(raw)
    return None if state is None else BackendView.of(state)


def _views(raw: msgspec.Raw) -> list[BackendView]:
    return [BackendView.of(state) for state in _states(raw)]


def _lease(raw: msgspec.Raw) -> Lease:
    grant = _grant(raw)
    return Lease(grant.id, grant.backend, grant.url, grant.model, grant.deadline_s)


def _give_back(raw: msgspec.Raw) -> bytes:
    return _encode(c.Release(_grant(raw).id, outcome=Outcome.CANCELLED))


def release_command(lease: Lease, outcome: Outcome, latency_ms: int | None, first_byte_ms: int | None) -> c.Release:
    """The command that gives a lease back."""
    return c.Release(lease.id, outcome, latency_ms, first_byte_ms)


class Operations:
    """The message API: each method is one message to the owner. The names are the seeds'.

    All of them may raise the `CallError`s of `actors.errors` besides what they name.
    """

    @operation
    @staticmethod
    def add_backend(backend: Backend) -> Call[None]:
        """Add a backend.

        Raises:
            DuplicateBackend: There is one of this id; it is left as it is.
        """
        return Call(c.AddBackend(backend.record()), _none)

    @operation
    @staticmethod
    def remove_backend(id: str) -> Call[BackendView]:
        """Remove a backend; returns it as it was. Requests in flight on it go on.

        Raises:
            BackendNotFound: There is none of this id.
        """
        return Call(c.RemoveBackend(id), _view)

    @operation
    @staticmethod
    def get_backend(id: str) -> Call[BackendView | None]:
        """A backend, or None."""
        return Call(c.GetBackend(id), _view_or_none, changes=False)

    @operation
    @staticmethod
    def get_all_backends() -> Call[list[BackendView]]:
        """All backends, in order of their arrival, at one moment."""
        return Call(c.GetBackends(), _views, changes=False)

    @operation
    @staticmethod
    def get_healthy_backends() -> Call[list[BackendView]]:
        """The backends that may be given requests."""
        return Call(c.GetBackends(status=BackendStatus.HEALTHY), _views, changes=False)

    @operation
    @staticmethod
    def get_backends_for_model(model_id: str) -> Call[list[BackendView]]:
        """The backends that have a model, whatever their status, in the order in which they came to have it."""
        return Call(c.GetBackends(model=model_id), _views, changes=False)

    @operation
    @staticmethod
    def get_models() -> Call[list[str]]:
        """Sorted ids of the models that healthy backends have."""
        return Call(c.GetModels(), _names, changes=False)

    @operation
    @staticmethod
    def backend_count() -> Call[int]:
        """Number of backends."""
        return Call(c.CountAll(), lambda raw: _counts(raw)[0], changes=False)

    @operation
    @staticmethod
    def model_count() -> Call[int]:
        """Number of distinct models of all backends, whatever their status."""
        return Call(c.CountAll(), lambda raw: _counts(raw)[1], changes=False)

    @operation
    @staticmethod
    def has_backend_url(url: str) -> Call[bool]:
        """Whether a backend has this URL, in whatever spelling."""
        return Call(c.HasBackendUrl(url), _bool, changes=False)

    @operation
    @staticmethod
    def update_status(id: str, status: BackendStatus, error: str | None = None) -> Call[None]:
        """Note the result of a check, now; a healthy backend has no error.

        Raises:
            BackendNotFound: There is none of this id.
        """
        return Call(c.UpdateStatus(id, status, error), _none)

    @operation
    @staticmethod
    def update_models(id: str, models: Sequence[Model]) -> Call[None]:
        """Replace all models of a backend at once.

        Raises:
            BackendNotFound: There is none of this id.
        """
        return Call(c.UpdateModels(id, tuple(model.record() for model in models)), _none)

    @operation
    @staticmethod
    def increment_pending(id: str) -> Call[int]:
        """Count one more request in flight, until this process decrements it or ends; returns the new number.

        Raises:
            BackendNotFound: There is none of this id.
        """
        return Call(c.IncrementPending(id), _int)

    @operation
    @staticmethod
    def decrement_pending(id: str) -> Call[int]:
        """Count one request in flight less; returns the new number. Never below the live leases.

        Raises:
            BackendNotFound: There is none of this id.
        """
        return Call(c.DecrementPending(id), _int)

    @operation
    @staticmethod
    def increment_total_requests(id: str) -> Call[int]:
        """Count a request that has ended; returns the new total.

        Raises:
            BackendNotFound: There is none of this id.
        """
        return Call(c.IncrementTotalRequests(id), _int)

    @operation
    @staticmethod
    def update_latency(id: str, latency_ms: int) -> Call[int]:
        """Take a sample into the moving average `(sample + 4 * old) // 5`; returns the new average.

        Raises:
            BackendNotFound: There is none of this id.
        """
        return Call(c.UpdateLatency(id, latency_ms), _int)

    @operation
    @staticmethod
    def acquire(
        model: str,
        *,
        exclude: Sequence[str] = (),
        lease_s: float = c.LEASE_S,
        timeout: float = DEFAULT_TIMEOUT_S,
    ) -> Call[Lease]:
        """Choose a healthy backend for a model and count the request on it, in one step.

        Args:
            model: The model.
            exclude: Ids of backends that were tried before.
            lease_s: How long the lease may last; it ends earlier with this process.
            timeout: Longest wait for the owner in seconds.

        Raises:
            ModelNotFound: No backend has it.
            NoBackendAvailable: None of those that have it can be given a request now.
            InvalidField: `exclude` is a string.
        """
        if isinstance(exclude, str):
            raise InvalidField("exclude", "must be a list of ids, not one string")
        command = c.Acquire(model, tuple(exclude), lease_s)
        return Call(command, _lease, timeout=timeout, on_orphan=_give_back)

    @operation
    @staticmethod
    def release(
        lease: Lease,
        *,
        outcome: Outcome = Outcome.OK,
        latency_ms: int | None = None,
        first_byte_ms: int | None = None,
    ) -> Call[None]:
        """Give a lease back and say how the request went. In a forked child one of the parent's stays as it is.

        Args:
            lease: What `acquire` returned.
            outcome: How it ended.
            latency_ms: How long it took in all; counted when the outcome is OK.
            first_byte_ms: How long it took to the first byte.

        Raises:
            LeaseNotFound: It was given back before or has expired.
        """
        command = release_command(lease, outcome, latency_ms, first_byte_ms)
        return Call(command, _none, inert=lease.is_inherited)

    @operation
    @staticmethod
    def get_leases() -> Call[list[HeldLease]]:
        """Who has a request in flight on which backend, oldest first."""
        return Call(c.GetLeases(), _leases, changes=False)

    @operation
    @staticmethod
    def metrics() -> Call[Metrics]:
        """What the owner counts."""
        return Call(c.GetMetrics(), _metrics, changes=False)
