"""What the supervisor knows of each process: what it was asked to run, and how its lives went."""

from __future__ import annotations

import random
from collections.abc import Callable

import msgspec

from actors.control import FromOwner, FromWorker
from actors.errors import SupervisorError
from actors.exits import Exit
from actors.process import Process
from actors.reactor import Timer
from actors.restarts import RestartHistory, RestartPolicy

FromChild = FromOwner | FromWorker

OWNER = "owner"

MAX_NAME = 100
"""Longest name of a process, in characters."""


class OwnerSpec(msgspec.Struct, frozen=True):
    """Which actor the owner runs.

    Attributes:
        actor: `module:function` that makes the actor and its journal from `options`.
        options: Bytes for that function.
        fds: Descriptors that each owner shall hold, such as the lock on the data directory.
    """

    actor: str
    options: bytes = b""
    fds: tuple[int, ...] = ()


class ChildSpec(msgspec.Struct, frozen=True):
    """A worker process.

    Attributes:
        name: Its name, unique in the system.
        target: `module:function` that is called in it with a `Child`.
        payload: Bytes for the target.
        fds: Descriptors for the target.
        policy: When it is started again.
    """

    name: str
    target: str
    payload: bytes = b""
    fds: tuple[int, ...] = ()
    policy: RestartPolicy = RestartPolicy()

    def __post_init__(self) -> None:
        if not 0 < len(self.name) <= MAX_NAME:
            reason = f"the name of a process has 1 to {MAX_NAME} characters, not {len(self.name):,}"
            raise SupervisorError(reason)


class ChildInfo(msgspec.Struct, frozen=True):
    """A process at this moment.

    Attributes:
        name: Its name.
        pid: Its process id, None between two lives.
        session: Its session, 0 for the owner.
        ready: Whether it has said that it works.
        restarts: How often it was started again.
    """

    name: str
    pid: int | None
    session: int
    ready: bool
    restarts: int


class Member:
    """A process over all its lives.

    Attributes:
        process: The present life; None between two.
        session: Its session; 0 for the owner.
        ready_at: Since when it works, on the monotonic clock; None if it does not yet.
        failure: Why it could not start, in its own words.
        restart: When the next life begins.
        exit: How it ended for good.
        on_exit: Who wants to know that.
    """

    def __init__(self, spec: ChildSpec, chance: random.Random) -> None:
        self.spec = spec
        self.history = RestartHistory(spec.policy, chance)
        self.process: Process[FromChild] | None = None
        self.session = 0
        self.ready_at: float | None = None
        self.failure: str | None = None
        self.restart: Timer | None = None
        self.exit: Exit | None = None
        self.on_exit: list[Callable[[Exit], None]] = []

    @property
    def waits(self) -> bool:
        """Whether it has never been started."""
        return self.process is None and self.exit is None and self.restart is None

    def info(self) -> ChildInfo:
        """The process at this moment."""
        return ChildInfo(
            self.spec.name,
            self.process.pid if self.process else None,
            self.session,
            self.process is not None and self.ready_at is not None,
            self.history.restarts,
        )

    def end(self, exit: Exit) -> None:
        """It has ended for good; tell who waits for that, and keep nothing that is not needed any more."""
        self.exit = exit
        for callback in self.on_exit:
            callback(exit)
        self.on_exit.clear()
        self.spec = msgspec.structs.replace(self.spec, payload=b"")
