"""What processes asked for and what they were told, with instants: recorded so that it outlives their SIGKILL."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec

from actors.errors import CommandError


class Operation(msgspec.Struct, frozen=True):
    """One operation of one process.

    Attributes:
        process: Who asked.
        name: What for.
        arguments: Plain values: strings, numbers, None, and tuples of them.
        called_ns: Instant on `CLOCK_MONOTONIC` just before it was asked for, in nanoseconds.
        returned_ns: Instant just after it was answered. None if its process was killed before: then it may have
            happened at any time from its call on, or not at all.
        result: What it was answered with, a plain value; None for a refusal, and if nobody knows.
        error: Name of the refusal; empty for none.
    """

    process: int
    name: str
    arguments: tuple[Any, ...]
    called_ns: int
    returned_ns: int | None = None
    result: Any = None
    error: str = ""

    @property
    def is_known(self) -> bool:
        """Whether it has happened and its answer is there."""
        return self.returned_ns is not None


class _Called(msgspec.Struct, frozen=True, tag=True):
    at_ns: int
    name: str
    arguments: tuple[Any, ...]


class _Returned(msgspec.Struct, frozen=True, tag=True):
    at_ns: int
    result: Any
    error: str


_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(_Called | _Returned).decode


class Recorder:
    """Writes the operations of one process to a file of its own, a line each at the call and at the return.

    What was written is in the kernel's hands and stays there whatever becomes of the process.

    Args:
        path: The file, which is made.
    """

    def __init__(self, path: Path) -> None:
        self._fd = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_EXCL, 0o600)

    def record(self, name: str, arguments: tuple[Any, ...], ask: Callable[[], Any]) -> Any:
        """Ask, and write down what and when; returns the result, None for a refusal.

        Any other error is the caller's: what has no answer must not be taken for something that was told.
        """
        self._write(_Called(time.monotonic_ns(), name, arguments))
        error = ""
        try:
            result = ask()
        except CommandError as refusal:
            result = None
            error = refusal.code
        self._write(_Returned(time.monotonic_ns(), result, error))
        return result

    def begin(self, name: str) -> None:
        """Write down that the process now does something from which it does not return."""
        self._write(_Called(time.monotonic_ns(), name, ()))

    def close(self) -> None:
        """Close the file."""
        os.close(self._fd)

    def _write(self, event: _Called | _Returned) -> None:
        os.write(self._fd, _encode(event) + b"\n")


def read(path: Path, process: int) -> Iterator[Operation]:
    """The operations of one process, in order; the last one may be without a return."""
    called: _Called | None = None
    for line in path.read_bytes().splitlines(keepends=True):
        if not line.endswith(b"\n"):
            break  # it was killed as it wrote: nothing was asked after half a call, and half a return tells nothing
        event = _decode(line)
        if isinstance(event, _Called):
            called = event
            continue
        assert called is not None
        arguments = _plain(called.arguments)
        yield Operation(process, called.name, arguments, called.at_ns, event.at_ns, _plain(event.result), event.error)
        called = None
    if called is not None:
        yield Operation(process, called.name, _plain(called.arguments), called.at_ns)


def _plain(value: Any) -> Any:
    """A value with tuples for the lists of JSON, to be compared and hashed."""
    return tuple(map(_plain, value)) if isinstance(value, list | tuple) else value
