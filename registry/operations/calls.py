"""What an operation is: a command, how its answer is read, and a method of both faces made of it."""

from __future__ import annotations

import functools
from collections.abc import Callable, Coroutine, Iterable, Sequence
from typing import Any, Generic, ParamSpec, Self, TypeVar, overload

import msgspec

from actors.client import DEFAULT_TIMEOUT_S
from actors.errors import CallError
from registry import commands as c
from registry.errors import InvalidField

P = ParamSpec("P")
T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)

encode = msgspec.msgpack.Encoder().encode


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
            self.command = encode(command)
        except (TypeError, ValueError, OverflowError) as error:
            raise _why_notencoded(command) from error
        self.read = read
        self.timeout = timeout
        self.changes = changes
        self.on_orphan = on_orphan
        self.inert = inert


def _why_notencoded(command: c.Command) -> InvalidField:
    for field in command.__struct_fields__:
        try:
            encode(getattr(command, field))
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


def reader(type: Any) -> Callable[[msgspec.Raw], Any]:
    """Reads an encoded answer of a type."""
    return msgspec.msgpack.Decoder(type).decode


none = reader(None)
integer = reader(int)
