"""`Supervisor`: a registry with worker processes, started from a user's program."""

from __future__ import annotations

import asyncio
import inspect
import itertools
import logging
import os
import sys
import threading
from collections.abc import Awaitable, Callable, Coroutine
from pathlib import Path
from types import TracebackType
from typing import Any, Concatenate, Literal, ParamSpec, Self

from actors.channel import Channel
from actors.exits import Exit
from actors.forks import LINEAGE
from actors.handle import Handle, Settings
from actors.processes.child import Child
from actors.processes.children import ChildInfo
from actors.processes.functions import pack, refuse_nested_start, unpack
from actors.processes.restarts import Restart, RestartPolicy
from actors.statistics import SupervisorStatistics
from registry.client import AsyncRegistry, Registry
from registry.connection import join
from registry.directory import StateDirectory
from registry.kinds import Durability

P = ParamSpec("P")

WorkerFunction = (
    Callable[Concatenate[Registry, P], object] | Callable[Concatenate[AsyncRegistry, P], Coroutine[Any, Any, object]]
)
"""What a worker process runs."""

READY_WITHIN_S = 1_800.0
"""How long a worker process may take to import what its function needs, which may load whatever it likes."""

MAX_NAME = 200
"""Longest name of a worker, in characters."""

MAX_LOG_LEVEL = 100
"""Above all that is logged."""

STOP_BUDGET_S = 5.0
"""How long the workers together may take to end."""


class Worker:
    """A worker process that was spawned.

    Attributes:
        name: Its name.
    """

    def __init__(self, handle: Handle, name: str) -> None:
        self._handle = handle
        self.name = name

    def __repr__(self) -> str:
        return f"<Worker {self.name!r}>"

    @property
    def pid(self) -> int | None:
        """Its process id at this moment; None between two lives and after the last."""
        return next((info.pid for info in self._handle.processes() if info.name == self.name), None)

    def join(self, timeout: float | None = None) -> Exit | None:
        """How it ended for good, or None if it has not within the timeout (seconds)."""
        return self._handle.wait(self.name, timeout)


class Supervisor:
    """One owner process, and the workers that are spawned; a process of its own watches over them.

    Everything ends with `stop`, at the end of a `with` block, and when the program that made it ends, however. In a
    process that is forked from this one, `registry` and `async_registry` work (with sessions of its own), `stop` does
    nothing, and what else there is raises `StartedElsewhere`.

    Args:
        data_dir: Where durable state lives; None for a temporary directory that is removed at the end.
        durability: What an answered change outlives: the end of any process, or the loss of power as well.
        recover: If the journal in `data_dir` is damaged, keep it under another name and go on with what is readable
            of it; the log says what that is. A sound one is left alone.
        log_level: From which level on the supervisor logs to standard error: a number as in `logging`, from 0 to 100.

    Raises:
        AlreadyRunning: Another system holds the data directory.
        StartFailed: The owner could not start, and why.
        MissingMainGuard: A worker imported the script that starts the system.
        ValueError: There is no such durability, or no such log level.
    """

    _actor = "registry.owner:build"
    """What makes the owner's actor and journal; see `actors.processes.children.OwnerSpec`."""

    def __init__(
        self,
        data_dir: Path | str | None = None,
        *,
        durability: Durability | Literal["process", "power"] = Durability.PROCESS,
        recover: bool = False,
        log_level: int = logging.WARNING,
    ) -> None:
        if durability not in set(Durability):
            raise ValueError(f"durability must be 'process' or 'power', not {durability!r}")
        if type(log_level) is not int or not 0 <= log_level <= MAX_LOG_LEVEL:
            raise ValueError(f"log_level must be a number as in logging, like logging.INFO (20), not {log_level!r}")
        refuse_nested_start()
        path = None if data_dir is None else Path(data_dir)
        self._directory = StateDirectory(path, f"{Path(sys.argv[0]).name or 'python'} (pid {os.getpid()})")
        options = self._directory.owner_options(Durability(durability), recover=recover)
        socket = str(self._directory.socket)
        settings = Settings(self._actor, options, STOP_BUDGET_S, log_level, attach=socket)
        self._numbers = itertools.count(1)
        self._stopped = False
        self._elsewhere = False
        self._attaching = threading.Lock()
        self._registry: Registry | None = None
        try:
            self._handle = Handle(settings, [self._directory.lock_fd])
        except BaseException:
            self._directory.close()
            raise
        LINEAGE.watch(self)

    @property
    def path(self) -> Path:
        """The data directory; other programs join with `registry.connect(path)`."""
        return self._directory.path

    @property
    def registry(self) -> Registry:
        """The registry for this process and all its threads; it has a session like any worker."""
        with self._attaching:
            if self._registry is None:
                self._registry = Registry(self._attach(), self._rejoin)
            return self._registry

    async def async_registry(self) -> AsyncRegistry:
        """A registry for this process and the running event loop, with a session of its own; close it at the end."""
        return AsyncRegistry(await asyncio.to_thread(self._attach), self._rejoin)

    def forked(self) -> None:
        """Let go of the system, which is the parent's; see `Forkable`."""
        self._elsewhere = True
        self._attaching = threading.Lock()

    def _attach(self) -> Channel:
        return join(self.path) if self._elsewhere else self._handle.attach()

    def _rejoin(self, timeout_s: float) -> Channel:
        return join(self.path, timeout_s)

    def spawn(self, function: WorkerFunction[P], *args: P.args, **kwargs: P.kwargs) -> Worker:
        """Run `function(registry, *args, **kwargs)` in a worker process, again if it crashes; see `spawn_with`."""
        return self.spawn_with(Restart.TRANSIENT, None, function, *args, **kwargs)

    def spawn_with(
        self,
        restart: Restart,
        name: str | None,
        function: WorkerFunction[P],
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> Worker:
        """Run `function(registry, *args, **kwargs)` in a worker process.

        Args:
            restart: Which ends of the process make it start again.
            name: Its name, unique in the system, 1 to 200 printable characters; None to make it from the function's.
            function: A function of a module; it and its arguments must be picklable. A plain one is handed a
                `Registry`; an `async def` is handed an `AsyncRegistry` and run in an event loop.
            *args: Its arguments after the registry.
            **kwargs: Its keyword arguments.

        Raises:
            SupervisorError: The function cannot be packed, or the name is taken.
            ValueError: `restart` is no `Restart`, or the name cannot be one.
        """
        _check_restart(restart)
        if name is not None:
            _check_name(name)
        payload = pack(function, args, kwargs)
        name = name or f"{getattr(function, '__name__', type(function).__name__)}-{next(self._numbers)}"
        policy = RestartPolicy(restart=Restart(restart))
        self._handle.spawn(name, "registry.supervisor:run_worker", payload, policy, READY_WITHIN_S)
        return Worker(self._handle, name)

    def processes(self) -> list[ChildInfo]:
        """The owner and all workers."""
        return self._handle.processes()

    def statistics(self) -> SupervisorStatistics:
        """What goes on in the system: sessions, restarts, and memory and processor time of each process."""
        return self._handle.statistics()

    def dump_stacks(self, name: str) -> None:
        """Let a process that seems stuck write the stacks of all its threads to standard error; it goes on as before.

        Args:
            name: Of a worker, or `owner`, or `supervisor`.

        Raises:
            SupervisorError: No process of this name runs.
        """
        self._handle.dump_stacks(name)

    @property
    def pid(self) -> int:
        """Process id of the supervisor."""
        return self._handle.pid

    def stop(self, budget_s: float = STOP_BUDGET_S) -> None:
        """End everything: the workers first, which together may take this many seconds, the owner last.

        To be called once more does nothing, nor does it in a forked child.
        """
        if self._stopped or self._elsewhere:
            return
        self._stopped = True
        if self._registry is not None:
            self._registry.close()
        self._handle.stop(budget_s)
        self._directory.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()


def _check_restart(restart: object) -> None:
    if restart not in list(Restart):
        choices = ", ".join(f"Restart.{choice.name}" for choice in Restart)
        raise ValueError(f"restart must be one of {choices}, not {restart!r:.200}")


def _check_name(name: object) -> None:
    if not isinstance(name, str) or not 1 <= len(name) <= MAX_NAME or not name.isprintable():
        raise ValueError(f"name must be 1 to {MAX_NAME} printable characters, or None, not {name!r:.200}")


def run_worker(child: Child) -> None:
    """A worker process: opens the function and runs it."""
    child.leave_with_supervisor()
    function, args, kwargs = unpack(child.payload)
    assert child.channel is not None  # noqa: S101 - every worker is given one
    if inspect.iscoroutinefunction(function):
        asyncio.run(_run_async(child, child.channel, lambda registry: function(registry, *args, **kwargs)))
        return
    registry = Registry(child.channel, child.rejoin)
    child.ready()
    function(registry, *args, **kwargs)


async def _run_async(child: Child, channel: Channel, function: Callable[[AsyncRegistry], Awaitable[object]]) -> None:
    registry = AsyncRegistry(channel, child.rejoin)
    child.ready()
    try:
        await function(registry)
    finally:
        registry.close()
