"""What the supervisor knows of each process: what it was asked to run, and how its lives went."""

from __future__ import annotations

import random
from collections.abc import Callable

import msgspec

from actors.errors import SupervisorError
from actors.exits import Exit
from actors.processes.control import FromOwner, FromWorker
from actors.processes.process import Process
from actors.processes.reactor import Timer
from actors.processes.restarts import RestartHistory, RestartPolicy
from actors.statistics import ProcessStatistics

FromChild = FromOwner | FromWorker

OWNER = "owner"
SUPERVISOR = "supervisor"

MAX_NAME = 100
"""Longest name of a process, in characters."""

HANG_S = 10.0
"""How long the owner's loop may stand still, unless it is said otherwise."""

HANG_LIMITS_S = (1.0, 86_400.0)
"""A loop with nothing to do turns twice a second."""

READY_S = 120.0
"""How long a process may take to be ready, unless it is said otherwise."""

READY_LIMITS_S = (1.0, 86_400.0)


class OwnerSpec(msgspec.Struct, frozen=True):
    """Which actor the owner runs.

    Attributes:
        actor: `module:function` that makes the actor and its journal from `options`.
        options: Bytes for that function.
        fds: Descriptors that each owner shall hold, such as the lock on the data directory.
        hang_s: An owner whose loop stands still for so many seconds is killed and replaced; 1 s to a day.
        ready_within_s: One that is not ready within so many seconds is killed; 1 s to a day.

    Raises:
        SupervisorError: A number is out of its limits.
    """

    actor: str
    options: bytes = b""
    fds: tuple[int, ...] = ()
    hang_s: float = HANG_S
    ready_within_s: float = READY_S

    def __post_init__(self) -> None:
        _check("hang_s", self.hang_s, HANG_LIMITS_S)
        _check("ready_within_s", self.ready_within_s, READY_LIMITS_S)


class ChildSpec(msgspec.Struct, frozen=True):
    """A worker process.

    Attributes:
        name: Its name, unique in the system.
        target: `module:function` that is called in it with a `Child`.
        payload: Bytes for the target.
        fds: Descriptors for the target.
        policy: When it is started again.
        ready_within_s: If it is not ready within so many seconds it is killed, and has failed to start; 1 s to a day.

    Raises:
        SupervisorError: The name's length or a number is out of its limits.
    """

    name: str
    target: str
    payload: bytes = b""
    fds: tuple[int, ...] = ()
    policy: RestartPolicy = RestartPolicy()
    ready_within_s: float = READY_S

    def __post_init__(self) -> None:
        if not 0 < len(self.name) <= MAX_NAME:
            reason = f"the name of a process has 1 to {MAX_NAME} characters, not {len(self.name):,}"
            raise SupervisorError(reason)
        _check("ready_within_s", self.ready_within_s, READY_LIMITS_S)


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

    @classmethod
    def of(cls, process: ProcessStatistics) -> ChildInfo:
        """What of a process's statistics is not a figure of the machine."""
        return cls(process.name, process.pid, process.session, process.ready, process.restarts)


class Member:
    """A process over all its lives.

    Attributes:
        process: The present life; None between two.
        session: Its session; 0 for the owner.
        ready_at: Since when it works, on the monotonic clock; None if it does not yet.
        failure: Why it could not start, in its own words if it had any.
        hopeless: Whether every other life would fail to start in the same way.
        killed: Why the supervisor has killed it.
        overdue: When it should be ready.
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
        self.hopeless = False
        self.killed: str | None = None
        self.overdue: Timer | None = None
        self.restart: Timer | None = None
        self.exit: Exit | None = None
        self.on_exit: list[Callable[[Exit], None]] = []

    @property
    def waits(self) -> bool:
        """Whether it has never been started."""
        return self.process is None and self.exit is None and self.restart is None

    def statistics(self) -> ProcessStatistics:
        """The process at this moment, without the machine's figures."""
        return unmeasured(
            self.spec.name,
            self.process.pid if self.process else None,
            self.session,
            ready=self.process is not None and self.ready_at is not None,
            restarts=self.history.restarts,
        )

    def begin(self, process: Process[FromChild], overdue: Timer) -> None:
        """A life begins."""
        self.process = process
        self.overdue = overdue
        self.ready_at = self.failure = self.killed = None

    def works(self, now: float) -> None:
        """It is ready."""
        self.ready_at = now
        self.not_overdue()

    def not_overdue(self) -> None:
        """Nobody waits any more for it to be ready."""
        if self.overdue is not None:
            self.overdue.cancel()
            self.overdue = None

    def end(self, exit: Exit) -> None:
        """It has ended for good; tell who waits for that, and keep nothing that is not needed any more."""
        self.exit = exit
        for callback in self.on_exit:
            callback(exit)
        self.on_exit.clear()
        self.spec = msgspec.structs.replace(self.spec, payload=b"")


def unmeasured(name: str, pid: int | None, session: int, *, ready: bool, restarts: int) -> ProcessStatistics:
    """A process as the supervisor sees it; the machine's figures are filled in by who asks for them."""
    return ProcessStatistics(name, pid, session, ready, restarts, None, 0, 0.0, 0, 0)


def _check(name: str, value: float, limits: tuple[float, float]) -> None:
    least, most = limits
    if not least <= value <= most:  # so that NaN is refused as well
        reason = f"{name} must be between {least:g} and {most:g} seconds, not {value:g}"
        raise SupervisorError(reason)
