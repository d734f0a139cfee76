"""How a request becomes a method of the blocking client and of the async one."""

from __future__ import annotations

import functools
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any, Generic, ParamSpec, Self, TypeVar, overload

if TYPE_CHECKING:
    from registry.services.requests import Request

P = ParamSpec("P")
T = TypeVar("T")


class BlockingFace:
    """A client whose methods return their results."""

    def perform(self, request: Request[T]) -> T:
        """Send it, wait, and read the answer."""
        raise NotImplementedError


class AsyncFace:
    """A client whose methods are awaited."""

    async def perform(self, request: Request[T]) -> T:
        """Send it, await the answer, and read it."""
        raise NotImplementedError


class asked(Generic[P, T]):  # noqa: N801 - used as a decorator
    """Makes a method of both clients from a function that makes a `Request`."""

    def __init__(self, make: Callable[P, Request[T]]) -> None:
        self._make = make
        functools.update_wrapper(self, make)  # type: ignore[arg-type]  # it takes any object

    def request(self, *args: P.args, **kwargs: P.kwargs) -> Request[T]:
        """The request without its being sent."""
        return self._make(*args, **kwargs)

    @overload
    def __get__(self, face: None, cls: type) -> Self: ...
    @overload
    def __get__(self, face: BlockingFace, cls: type) -> Callable[P, T]: ...
    @overload
    def __get__(self, face: AsyncFace, cls: type) -> Callable[P, Coroutine[Any, Any, T]]: ...
    def __get__(self, face: BlockingFace | AsyncFace | None, cls: type) -> Any:
        if face is None:
            return self
        perform, make = face.perform, self._make

        def method(*args: P.args, **kwargs: P.kwargs) -> Any:
            return perform(make(*args, **kwargs))

        return functools.update_wrapper(method, make)
