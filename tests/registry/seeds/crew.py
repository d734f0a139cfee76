"""Worker processes that do what a test tells them, all at the same time."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from multiprocessing.connection import Client, Connection, Listener
from typing import Any, Concatenate

from actors.processes.restarts import Restart
from registry import Registry, Supervisor

Job = Callable[Concatenate[Registry, ...], Any]
"""What a member does: a function of a module, and its result is picklable."""


class Crew:
    """Worker processes of one system, which wait for jobs.

    Args:
        supervisor: Of the system.
        size: Number of processes.
    """

    def __init__(self, supervisor: Supervisor, size: int) -> None:
        self.size = size
        self._lines: list[Connection[Any, Any]] = []
        with Listener(family="AF_UNIX") as listener:
            self._workers = [
                supervisor.spawn_with(Restart.TEMPORARY, None, serve, listener.address) for _ in range(size)
            ]
            self._lines = [listener.accept() for _ in range(size)]

    def does(self, jobs: Sequence[tuple[Any, ...]]) -> list[Any]:
        """Let each member do one of these jobs; none begins before all are ready, and all go on until all have ended.

        Args:
            jobs: One for each member: a function, and its arguments after the registry.

        Returns:
            What they returned, in order.
        """
        for line, job in zip(self._lines, jobs, strict=True):
            line.send(job)
        for line in self._lines:
            self._hear(line)
        for line in self._lines:
            line.send(None)
        return [self._hear(line) for line in self._lines]

    def close(self) -> None:
        """Send everybody home."""
        for line in self._lines:
            line.close()
        for worker in self._workers:
            worker.join(10)

    @staticmethod
    def _hear(line: Connection[Any, Any]) -> Any:
        try:
            return line.recv()
        except EOFError:
            raise AssertionError("a worker process failed; standard error has its traceback") from None


def serve(registry: Registry, address: str) -> None:
    """A member's life: do one job after the other, until nobody has any more."""
    with Client(address) as line:
        while True:
            try:
                job, *args = line.recv()
            except EOFError:
                return
            line.send(os.getpid())
            line.recv()
            line.send(job(registry, *args))
