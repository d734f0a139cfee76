"""Whole systems of real processes, for the length of a test."""

from __future__ import annotations

import contextlib
import logging
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from actors.client import Client
from actors.handle import Handle, Settings
from actors.processes.children import HANG_S, ChildInfo
from actors.processes.restarts import Restart, RestartPolicy
from tests.actors.owners import decode, encode
from tests.polling import until

ACTOR = "tests.actors.counter:build"
ONCE = RestartPolicy(Restart.TEMPORARY)
OFTEN = RestartPolicy(intensity=1_000, first_delay_s=0.001, longest_delay_s=0.001)


class System:
    """A running system, and a session of the test's own.

    Args:
        actor: What the owner runs.
        options: Bytes for it.
        log_level: From which level on the supervisor writes to standard error.
        hang_s: How long the owner may stand still.
    """

    def __init__(
        self, actor: str = ACTOR, options: bytes = b"", log_level: int = logging.CRITICAL, hang_s: float = HANG_S
    ) -> None:
        self.handle = Handle(Settings(actor, options, 5.0, log_level, hang_s))
        self.client = Client(self.handle.attach())

    def ask(self, command: Any) -> Any:
        return decode(self.client.ask(encode(command)))

    def spawn(self, name: str, function: str, payload: bytes = b"", policy: RestartPolicy = OFTEN) -> ChildInfo:
        self.handle.spawn(name, f"tests.actors.workers:{function}", payload, policy)
        return self.ready(name)

    def info(self, name: str) -> ChildInfo:
        return next(info for info in self.handle.processes() if info.name == name)

    def ready(self, name: str, restarts: int = 0) -> ChildInfo:
        """Wait until a process works, after at least so many restarts."""

        def works() -> bool:
            info = self.info(name)
            return info.ready and info.restarts >= restarts

        until(works, f"{name} works after {restarts} restarts")
        return self.info(name)

    def pids(self) -> list[int]:
        return [self.handle.pid, *(pid for info in self.handle.processes() if (pid := info.pid))]

    def close(self) -> None:
        self.client.close()
        self.handle.stop(0.5)


def pid_of(info: ChildInfo) -> int:
    """A process's id; it must have one."""
    assert info.pid is not None
    return info.pid


@contextlib.contextmanager
def standard_error_in(path: Path) -> Iterator[None]:
    """Processes started in this block write their standard error to this file, for as long as they live."""
    saved = os.dup(2)
    with path.open("ab") as file:
        os.dup2(file.fileno(), 2)
    try:
        yield
    finally:
        os.dup2(saved, 2)
        os.close(saved)


@contextlib.contextmanager
def running_system(*arguments: Any, **options: Any) -> Iterator[System]:
    """A system for the length of a block."""
    system = System(*arguments, **options)
    try:
        yield system
    finally:
        system.close()
