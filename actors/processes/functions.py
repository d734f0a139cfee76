"""A user's function on its way to the process that runs it: bytes that nobody opens in between."""

from __future__ import annotations

import pickle
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from multiprocessing import process, spawn
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

from actors.errors import MissingMainGuard, SupervisorError

_KEPT = ("sys_argv", "orig_dir", "init_main_from_name", "init_main_from_path")
"""What of multiprocessing's preparation is needed to import the caller's main module."""

_importing_main: ContextVar[bool] = ContextVar("importing_main", default=False)


class PackedCall(NamedTuple):
    """A function and its arguments, opened."""

    function: Callable[..., Any]
    args: tuple[Any, ...]
    kwargs: dict[str, Any]


def pack(function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> bytes:
    """A call as bytes.

    Raises:
        SupervisorError: The function is not importable by name, or an argument cannot be pickled.
    """
    if not callable(function):
        raise SupervisorError(f"what a worker process runs must be a function, not {function!r:.200}")
    if getattr(function, "__module__", None) == "__main__" and not _has_file(sys.modules["__main__"]):
        raise SupervisorError(
            "the function was typed in, or read from standard input, where a worker process cannot find it:"
            " put it into a module, or run the script from a file"
        )
    preparation = spawn.get_preparation_data("worker")
    kept = {key: preparation[key] for key in _KEPT if key in preparation}
    try:
        return pickle.dumps((kept, pickle.dumps((function, args, kwargs))))
    except (pickle.PicklingError, AttributeError, TypeError) as error:
        reason = f"the function must stand at the top of a module, and its arguments must be picklable: {error}"
        raise SupervisorError(reason) from error


def _has_file(module: ModuleType) -> bool:
    return Path(getattr(module, "__file__", None) or "").is_file() or getattr(module, "__spec__", None) is not None


def unpack(payload: bytes) -> PackedCall:
    """Open a call in the process that runs it: this imports the module that the function comes from."""
    preparation, call = pickle.loads(payload)  # noqa: S301 - from our own parent, by a private descriptor
    with _main_being_imported():
        spawn.prepare(preparation)
        function, args, kwargs = pickle.loads(call)  # noqa: S301 - the same
    return PackedCall(function, args, kwargs)


def refuse_nested_start() -> None:
    """Raise `MissingMainGuard` in a process that is still importing the script which started it.

    It may be a worker, or a child of `multiprocessing`, which marks it in the same way for its own refusal.
    """
    if _importing_main.get() or getattr(process.current_process(), "_inheriting", False):
        raise MissingMainGuard


@contextmanager
def _main_being_imported() -> Iterator[None]:
    token = _importing_main.set(True)
    try:
        yield
    finally:
        _importing_main.reset(token)
