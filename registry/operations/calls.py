"""What an operation is: a command, how its answer is read, and a method of both faces made of it."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Coroutine, Iterable, Sequence
from time import monotonic
from typing import Any, Generic, ParamSpec, Protocol, Self, TypeVar, overload

import msgspec

from actors.client import DEFAULT_TIMEOUT_S
from actors.errors import CallError
from actors.replica import Replica
from registry import commands as c
from registry.errors import InvalidField

P = ParamSpec("P")
T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)

encode = msgspec.msgpack.Encoder().encode

UNSENDABLE = (TypeError, ValueError, OverflowError, RecursionError)
"""What msgspec raises on values that no message can carry: foreign types, endless numbers, nesting without end."""


class Call(Generic[T_co]):
    """A command, and how its answer is read.

    Args:
        command: What the owner is told.
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
            self.command = encode(command)
        except UNSENDABLE as error:
            raise _why_not_encoded(command) from error
        self.read = read
        self.timeout = timeout
        self.changes = changes
        self.on_orphan = on_orphan
        self.inert = inert


def _why_not_encoded(command: c.Command) -> InvalidField:
    for field in command.__struct_fields__:
        try:
            encode(getattr(command, field))
        except UNSENDABLE as error:
            return InvalidField(field, f"cannot be sent: {error}")
    return InvalidField("", "cannot be sent")


def checked(field: str, value: object, type: type[T]) -> T:
    """The value of an argument, if it is of its type; raises `InvalidField`."""
    if not isinstance(value, type):
        raise InvalidField(field, f"must be a {type.__name__}, not {value!r:.200}")
    return value


def all_checked(field: str, values: object, type: type[T]) -> Sequence[T]:
    """The values of an argument, if it is a list (or a tuple, ...) of such; raises `InvalidField`."""
    if not isinstance(values, Sequence):
        raise InvalidField(field, f"must be a list of {type.__name__}s, not {values!r:.200}")
    for index, value in enumerate(values):
        if not isinstance(value, type):
            checked(f"{field}[{index}]", value, type)  # its name is made only if it is needed
    return values


NOTHING = msgspec.Raw(b"\xc0")
"""The answer None, encoded."""


def asked_of(calls: Sequence[Call[Any]]) -> list[Call[Any]]:
    """Those of a batch for which the owner must be asked.

    Raises:
        InvalidField: They are not a list of calls.
    """
    return [call for call in all_checked("calls", calls, Call) if not call.inert]


def results_of(calls: Sequence[Call[Any]], outcomes: Iterable[msgspec.Raw | CallError]) -> list[Any]:
    """The results of a batch in order, with the error in place of each result of a call that was refused."""
    answered = iter(outcomes)
    return [call.read(NOTHING) if call.inert else _result(call, next(answered)) for call in calls]


def _result(call: Call[T], outcome: msgspec.Raw | CallError) -> T | CallError:
    return call.read(outcome) if isinstance(outcome, msgspec.Raw) else outcome


ASK: Any = object()
"""What a copy says to a read that only the owner can answer, or refuse."""


class Copy(Protocol):
    """A process's own copy of what is to be read: it has the reads as methods, by the names of the operations."""

    replica: Replica

    def is_current(self) -> bool:
        """Take in what has come; whether reads can be answered from it."""


class BlockingFace:
    """A face whose operations return their results.

    Attributes:
        copy: What reads are answered from.
    """

    copy: Copy

    def perform(self, call: Call[T]) -> T:
        """Ask, wait, and read the answer."""
        raise NotImplementedError

    def sync(self) -> None:
        """Bring the copy up to date."""
        raise NotImplementedError


class AsyncFace:
    """A face whose operations are awaited.

    Attributes:
        copy: What reads are answered from.
    """

    copy: Copy

    async def perform(self, call: Call[T]) -> T:
        """Ask, await, and read the answer."""
        raise NotImplementedError

    async def sync(self) -> None:
        """Bring the copy up to date."""
        raise NotImplementedError


_SELF = inspect.Parameter("self", inspect.Parameter.POSITIONAL_OR_KEYWORD)


class operation(Generic[P, T]):  # noqa: N801 - used as a decorator
    """Makes a method of both faces from a function that makes a `Call`."""

    def __init__(self, make: Callable[P, Call[T]]) -> None:
        self._make = make
        functools.update_wrapper(self, make)
        self.__signature__ = self._signature([_SELF])
        self._bound_signature = self._signature([])

    def call(self, *args: P.args, **kwargs: P.kwargs) -> Call[T]:
        """The operation without its being done, for a batch; see `Registry.batch`."""
        return self._make(*args, **kwargs)

    def _signature(self, first: list[inspect.Parameter]) -> inspect.Signature:
        """What the method takes and returns, after these parameters."""
        made = inspect.signature(self._make)
        result = str(made.return_annotation).removeprefix("Call[").removesuffix("]")
        return made.replace(parameters=[*first, *made.parameters.values()], return_annotation=result)

    def __set_name__(self, cls: type, name: str) -> None:
        self._name = name

    @overload
    def __call__(self, face: BlockingFace, /, *args: P.args, **kwargs: P.kwargs) -> T: ...
    @overload
    def __call__(self, face: AsyncFace, /, *args: P.args, **kwargs: P.kwargs) -> Coroutine[Any, Any, T]: ...
    def __call__(self, face: Any, /, *args: Any, **kwargs: Any) -> Any:
        """Do the operation, as an unbound method does: `Registry.acquire(registry, "m")`."""
        if not isinstance(face, BlockingFace | AsyncFace):
            raise TypeError(f"{self._name} needs a registry as its first argument, not {face!r:.200}")
        return getattr(face, self._name)(*args, **kwargs)

    @overload
    def __get__(self, face: None, cls: type) -> Self: ...
    @overload
    def __get__(self, face: BlockingFace, cls: type) -> Callable[P, T]: ...
    @overload
    def __get__(self, face: AsyncFace, cls: type) -> Callable[P, Coroutine[Any, Any, T]]: ...
    def __get__(self, face: BlockingFace | AsyncFace | None, cls: type) -> Any:
        if face is None:
            return self
        # From now on the face finds the method in itself and does not come here again.
        method: Any = functools.update_wrapper(self._method(face), self._make)
        method.__signature__ = self._bound_signature
        face.__dict__[self._name] = method
        return method

    def _method(self, face: BlockingFace | AsyncFace) -> Callable[..., Any]:
        make = self._make
        perform = face.perform

        def method(*args: P.args, **kwargs: P.kwargs) -> Any:
            return perform(make(*args, **kwargs))

        return method


class reading(operation[P, T]):  # noqa: N801 - used as a decorator
    """An operation that is answered from this process's copy; `fresh=True` brings that up to date before.

    The copy has what this process has changed, and what others have a few hundredths of a second later; after any
    answer of the owner it has every durable change before it. While there is no whole copy the owner is asked.
    """

    needs_copy = False
    """Whether what is fresh is read from the copy even if this process has none yet, and must wait for it."""

    def _method(self, face: BlockingFace | AsyncFace) -> Callable[..., Any]:
        by_default: bool = inspect.signature(self._make).parameters["fresh"].default
        read = getattr(face.copy, self._name)
        return (self._blocking if isinstance(face, BlockingFace) else self._awaited)(face, read, by_default)

    def _blocking(self, face: Any, read: Callable[..., Any], by_default: bool) -> Callable[..., Any]:
        make, perform, sync = self._make, face.perform, face.sync
        replica, is_current, needs_copy = face.copy.replica, face.copy.is_current, self.needs_copy

        def is_fresh() -> bool:
            if not (needs_copy or replica.complete):
                return False
            sync()
            return True

        def method(*args: Any, fresh: bool = by_default, **kwargs: Any) -> Any:
            if is_fresh() if fresh else monotonic() < replica.current_until or is_current():
                found = read(*args, **kwargs)
                if found is not ASK:
                    return found
            return perform(make(*args, **kwargs))

        return method

    def _awaited(self, face: Any, read: Callable[..., Any], by_default: bool) -> Callable[..., Any]:
        make, perform, sync = self._make, face.perform, face.sync
        replica, is_current, needs_copy = face.copy.replica, face.copy.is_current, self.needs_copy

        async def is_fresh() -> bool:
            if not (needs_copy or replica.complete):
                return False
            await sync()
            return True

        async def method(*args: Any, fresh: bool = by_default, **kwargs: Any) -> Any:
            if await is_fresh() if fresh else monotonic() < replica.current_until or is_current():
                found = read(*args, **kwargs)
                if found is not ASK:
                    return found
            return await perform(make(*args, **kwargs))

        return method


class listing(reading[P, T]):  # noqa: N801 - used as a decorator
    """A `reading` whose result may be longer than a message: if it is to be fresh, it is read from a copy all the same.

    So a process that lists what is fresh keeps a copy from then on.
    """

    needs_copy = True


def reader(type: Any) -> Callable[[msgspec.Raw], Any]:
    """Reads an encoded answer of a type."""
    return msgspec.msgpack.Decoder(type).decode


none = reader(None)
integer = reader(int)
