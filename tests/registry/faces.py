"""Both faces of the registry as plain code, so that one list of tests fits both."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable, Iterator
from typing import Any, cast

import uvloop

from actors.channel import Channel
from registry import AsyncRegistry, Change, Registry
from registry.watching import AsyncChanges


class OnLoop:
    """The asyncio face, driven by an event loop that runs only while something is asked."""

    new_loop: Callable[[], asyncio.AbstractEventLoop]

    def __init__(self, channel: Channel) -> None:
        self._runner = asyncio.Runner(loop_factory=self.new_loop)
        self._registry = self._runner.run(self._make(channel))

    async def _make(self, channel: Channel) -> AsyncRegistry:
        return AsyncRegistry(channel)

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._registry, name)
        if not callable(found):
            return found

        def run(*args: Any, **options: Any) -> Any:
            async def called() -> Any:
                result = found(*args, **options)
                return await result if inspect.isawaitable(result) else result

            return self._runner.run(called())

        return run

    def watch(self, since: int | None = None) -> Iterator[Change]:
        return _Awaited(self._registry.watch(since), self._runner)

    def close(self) -> None:
        async def closed() -> None:
            self._registry.close()

        self._runner.run(closed())
        self._runner.close()


class _Awaited(Iterator[Change]):
    def __init__(self, changes: AsyncChanges, runner: asyncio.Runner) -> None:
        self._changes = changes
        self._runner = runner

    def __next__(self) -> Change:
        return self._runner.run(self._next())

    async def _next(self) -> Change:
        return await anext(self._changes)


class OnAsyncio(OnLoop):
    """On the standard loop."""

    new_loop = staticmethod(asyncio.new_event_loop)


class OnUvloop(OnLoop):
    """On uvloop."""

    new_loop = staticmethod(uvloop.new_event_loop)


FACES: dict[str, Callable[[Channel], Registry]] = {
    "blocking": Registry,
    "asyncio": cast("Callable[[Channel], Registry]", OnAsyncio),
    "uvloop": cast("Callable[[Channel], Registry]", OnUvloop),
}
"""The faces by name; all have the methods of `Registry`."""

Make = Callable[[], Registry]
"""Makes another one of the same kind; see the fixture `make`."""
