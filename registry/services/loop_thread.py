"""An event loop in a thread of its own, for those who have none."""

from __future__ import annotations

import asyncio
import threading
import weakref
from collections.abc import Callable, Coroutine
from concurrent.futures import CancelledError
from typing import Any, TypeAlias, TypeVar

from actors.forks import LINEAGE
from registry.services.connection import CLOSED

T = TypeVar("T")

Coro: TypeAlias = Callable[[], Coroutine[Any, Any, T]]

STOP_TIMEOUT_S = 5.0


class LoopThread:
    """Runs coroutines for any thread. The thread is started by the first of them, and ends with the process at last.

    Args:
        farewell: Done at the end, when nothing else runs in the loop any more.
    """

    def __init__(self, farewell: Coro[None]) -> None:
        self._farewell = farewell
        self._lock = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stop: Callable[[], object] = lambda: None
        self._closed = False
        self._generation = LINEAGE.generation

    def run(self, make: Coro[T]) -> T:
        """The result of a coroutine, or what it raises; an interrupted wait cancels it.

        Args:
            make: Makes the coroutine.

        Raises:
            RuntimeError: The thread was stopped, or is that of the process that this one was forked from.
        """
        if self._generation != LINEAGE.generation:
            raise RuntimeError("this process was forked: what its parent keeps registered is kept there")
        with self._lock:  # what is handed over before the end is known is ended with the rest
            loop = self._running()
            future = asyncio.run_coroutine_threadsafe(make(), loop)
        try:
            return future.result()
        except CancelledError:
            raise RuntimeError(CLOSED) from None
        except BaseException:  # such as Ctrl-C: nobody waits for it any more
            future.cancel()
            raise

    def stop(self) -> None:
        """End the thread, and what runs in it."""
        with self._lock:
            self._closed = True
        self._stop()

    @property
    def is_used(self) -> bool:
        """Whether it was started, and not stopped."""
        return self._loop is not None and not self._closed

    def _running(self) -> asyncio.AbstractEventLoop:
        if self._closed:
            raise RuntimeError(CLOSED)
        if self._loop is None:
            self._loop = asyncio.new_event_loop()
            serving = (self._loop, self._farewell)
            thread = threading.Thread(target=_serve, args=serving, name="service registry", daemon=True)
            thread.start()
            # For whoever forgets to close it; at the end of the process too.
            self._stop = weakref.finalize(self, _stop, self._loop, thread)
        return self._loop


def _serve(loop: asyncio.AbstractEventLoop, farewell: Coro[None]) -> None:
    asyncio.set_event_loop(loop)
    try:
        loop.run_forever()
        tasks = asyncio.all_tasks(loop)
        for task in tasks:
            task.cancel()
        if tasks:
            loop.run_until_complete(asyncio.wait(tasks))
        loop.run_until_complete(farewell())
        # Not so its threads for name look-ups: one that hangs would hold up the end.
        loop.run_until_complete(loop.shutdown_asyncgens())
    finally:
        loop.close()


def _stop(loop: asyncio.AbstractEventLoop, thread: threading.Thread) -> None:
    if thread.is_alive():  # it is not in a process that was forked meanwhile
        loop.call_soon_threadsafe(loop.stop)
        if thread is not threading.current_thread():  # the garbage collector may run in it too
            thread.join(STOP_TIMEOUT_S)
