"""The parent of all processes: starts, watches, restarts and stops them, and holds what must outlive them.

It holds no state of the actor and runs no code of the user's.
"""

from __future__ import annotations

import functools
import logging
import os
import random
import signal
from collections.abc import Callable, Sequence

from actors.attach_listener import AttachListener
from actors.channel import Channel
from actors.children import OWNER, ChildInfo, ChildSpec, FromChild, Member, OwnerSpec
from actors.clock import Clock, SystemClock
from actors.control import Ended, Failed, FreshLog, FromOwner, FromWorker, Leave, Ready, Start
from actors.descriptors import raise_descriptor_limit
from actors.errors import AttachFailed, MessageInvalid, QueueClosed, StartFailed, SupervisorError, TooManyRestarts
from actors.exits import Exit
from actors.owner_keeper import OwnerKeeper
from actors.process import Process
from actors.reactor import Reactor, Timer
from actors.restarts import RestartPolicy

logger = logging.getLogger(__name__)

MAX_ENDED = 200
"""Of so many workers that have ended it is remembered how."""

OWNER_STOP_S = 3.0
"""How long the owner may take to close its journal before it is killed."""


class Supervisor:
    """A running system of one owner and its workers.

    Args:
        owner: The actor.
        clock: The time.
        owner_policy: When the owner is started again.
        attach: Path of the socket by which other processes join; empty for none. The caller must hold a lock on its
            directory.
    """

    def __init__(
        self,
        owner: OwnerSpec,
        clock: Clock | None = None,
        owner_policy: RestartPolicy | None = None,
        attach: str = "",
    ) -> None:
        self._clock = clock or SystemClock()
        self.reactor = Reactor(self._clock)
        self._chance = random.Random()  # noqa: S311 - it spreads restarts, nobody gains by guessing it
        self._keeper = OwnerKeeper(owner, self.reactor)
        self._owner = Member(
            ChildSpec(OWNER, "actors.owner:main", policy=owner_policy or RestartPolicy()), self._chance
        )
        self._members: dict[str, Member] = {}
        self._attach = attach
        self._door: AttachListener | None = None
        self._stopping: str | None = None
        self._kill_at: Timer | None = None
        self._error: SupervisorError | None = None
        self._done = False
        self.on_ready: Callable[[], None] = lambda: None
        self.on_stopping: Callable[[], None] = lambda: None

    # -- what others ask of it -------------------------------------------------------------------------------

    def start(self) -> None:
        """Start the owner, and after it the workers that were added. To be called in the main thread."""
        raise_descriptor_limit()
        self._start_owner()
        if self._attach:
            self._open_door()

    def add(self, spec: ChildSpec) -> None:
        """Add a worker; it is started as soon as the owner works.

        Raises:
            SupervisorError: The name is taken, or the system is stopping.
        """
        if self._stopping is not None:
            reason = f"the system is stopping: {self._stopping}"
            raise SupervisorError(reason)
        taken = self._members.get(spec.name)
        if spec.name == OWNER or (taken is not None and taken.exit is None):
            reason = f"there is already a process of the name {spec.name!r}"
            raise SupervisorError(reason)
        member = self._members[spec.name] = Member(spec, self._chance)
        if self._owner.ready_at is not None:
            self._start_worker(member)

    def join(self) -> tuple[int, Channel]:
        """A new session; returns its number and the worker's end of its queue."""
        return self._keeper.join()

    def leave(self, session: int) -> None:
        """The process of a session is gone: nothing more may come, not even from a child that it has left behind."""
        self._keeper.leave(session)

    def when_ended(self, name: str, callback: Callable[[Exit], None]) -> None:
        """Call back when a worker has ended for good.

        Raises:
            SupervisorError: There is no such worker.
        """
        member = self._members.get(name)
        if member is None:
            reason = f"there is no process of the name {name!r}"
            raise SupervisorError(reason)
        if member.exit is not None:
            callback(member.exit)
        else:
            member.on_exit.append(callback)

    def info(self) -> list[ChildInfo]:
        """All processes in order of their start."""
        return [member.info() for member in (self._owner, *self._members.values())]

    def run(self) -> None:
        """Serve until the system has stopped.

        Raises:
            StartFailed: The owner could not start.
            TooManyRestarts: A process crashed too often.
        """
        while not self._done:
            self.reactor.turn()
        self.reactor.close()
        if self._error is not None:
            raise self._error

    def stop(self, reason: str, budget_s: float = 10.0) -> None:
        """Stop everything in reverse order; a second call hurries.

        Args:
            reason: Why, for the log.
            budget_s: How long all workers together may take before they are killed.
        """
        if self._stopping is not None:
            self._kill_workers()
            return
        self._stopping = reason
        logger.info("stopping: %s", reason)
        self.on_stopping()
        if self._door is not None:
            self._door.refuse(f"it is stopping: {reason}")
        for member in reversed(self._members.values()):
            if member.restart is not None:
                member.restart.cancel()
            if member.process is not None:
                member.process.kill(signal.SIGTERM)
        self._kill_at = self.reactor.after(budget_s, self._kill_workers)
        self._stop_owner_when_alone()

    def _open_door(self) -> None:
        try:
            self._door = AttachListener(self._attach, self.reactor, self.join, self.leave)
        except AttachFailed as error:
            logger.warning("no other process can join this system, nor one that a worker forks: %s", error)

    # -- the life of a process -------------------------------------------------------------------------------

    def _start_owner(self) -> None:
        payload, fds = self._keeper.next_life()
        self._launch(self._owner, payload, fds)
        if self._owner.process is not None:
            self._keeper.begin(self._owner.process)

    def _start_worker(self, member: Member) -> None:
        member.restart = None
        try:
            member.session, channel = self.join()
        except OSError as error:
            self._not_started(member, error)
            return
        self._launch(member, member.spec.payload, [channel.fileno(), *member.spec.fds])
        channel.close()

    def _launch(self, member: Member, payload: bytes, fds: Sequence[int]) -> None:
        start = Start(member.spec.name, member.spec.target, member.session, self._attach)
        member.ready_at = None
        member.failure = None
        says = FromOwner if member is self._owner else FromWorker
        try:
            process: Process[FromChild] = Process(start, payload, fds, says)
        except OSError as error:
            self.leave(member.session)
            self._not_started(member, error)
            return
        member.process = process
        self.reactor.watch(process.pidfd, functools.partial(self._ended, member))
        self.reactor.watch(process.control.fileno(), functools.partial(self._hear, member))

    def _not_started(self, member: Member, error: OSError) -> None:
        member.failure = f"cannot be started: {error.strerror}"
        self._restart(member, Exit(os.EX_OSERR, None))

    def _hear(self, member: Member) -> None:
        process = member.process
        assert process is not None  # noqa: S101 - watched only while it runs
        try:
            while (received := process.control.receive()) is not None:
                self._heard(member, *received)
        except MessageInvalid as error:
            logger.warning("%s: %s", member.spec.name, error)
        except QueueClosed:
            self.reactor.forget(process.control.fileno())  # the pidfd tells the rest

    def _heard(self, member: Member, message: FromChild, fds: list[int]) -> None:
        match message:
            case Ready():
                member.ready_at = self._clock.monotonic()
                logger.info("%s is ready (pid %d)", member.spec.name, member.process.pid if member.process else 0)
                if member is self._owner:
                    self._start_waiting()
                self._tell_if_ready()
            case Failed():
                member.failure = message.reason
            case Ended() | FreshLog():
                self._keeper.heard(message, fds)
        for fd in fds:
            os.close(fd)

    def _start_waiting(self) -> None:
        for member in list(self._members.values()):
            if member.waits and not self._stopping:
                self._start_worker(member)

    def _tell_if_ready(self) -> None:
        if all(member.ready_at is not None or member.exit is not None for member in self._members.values()):
            self.on_ready()

    def _ended(self, member: Member) -> None:
        process = member.process
        assert process is not None  # noqa: S101 - watched only while it runs
        self.reactor.forget(process.pidfd)
        # What it said last (a fresh log, a failure) counts, so its line is read to the end first.
        self._hear(member)
        self.reactor.forget(process.control.fileno())
        end = process.reap()
        member.process = None
        if member is self._owner:
            self._keeper.ended()
            self._owner_ended(end)
            return
        self.leave(member.session)
        if self._stopping is None and member.history.wanted(end):
            self._restart(member, end)
            return
        self._gone(member, end)
        if self._stopping is not None:
            self._stop_owner_when_alone()

    def _owner_ended(self, end: Exit) -> None:
        if self._stopping is None or self._workers_run():
            self._restart(self._owner, end)  # the workers still need one for what they finish
        else:
            self._finish()

    def _workers_run(self) -> bool:
        return any(member.process is not None for member in self._members.values())

    def _gone(self, member: Member, end: Exit) -> None:
        if member.failure is not None:
            logger.warning("%s did not start: %s", member.spec.name, member.failure)
        elif member.session:  # else it never ran
            logger.info("%s has ended (%s)", member.spec.name, end)
        member.end(end)
        ended = [name for name, other in self._members.items() if other.exit is not None]
        for name in ended[: max(0, len(ended) - MAX_ENDED)]:
            del self._members[name]

    def _restart(self, member: Member, end: Exit) -> None:
        now = self._clock.monotonic()
        started = member.ready_at is not None
        lived_s = now - member.ready_at if member.ready_at is not None else None
        why = f"{member.spec.name}: {member.failure or end}"
        if member is self._owner and not started and self._keeper.epoch == 1:
            self._give_up(StartFailed(member.failure or f"the owner did not start ({end})"), member, end)
            return
        delay_s = member.history.next_delay(now, lived_s)
        if delay_s is None:
            what = "crashed" if started else "failed to start"
            self._give_up(TooManyRestarts(f"{why}; it {what} too often, so the system stops"), member, end)
            return
        logger.warning("%s%s; starting it again%s", why, "" if started else " before it was ready", _in(delay_s))
        member.ready_at = None
        start = self._start_owner if member is self._owner else functools.partial(self._start_worker, member)
        member.restart = self.reactor.after(delay_s, start)

    def _give_up(self, error: SupervisorError, member: Member, end: Exit) -> None:
        self._error = error
        if member is not self._owner:
            self._gone(member, end)
        self.stop(str(error))

    # -- the end ---------------------------------------------------------------------------------------------

    def _kill_workers(self) -> None:
        for member in self._members.values():
            if member.process is not None:
                logger.warning("%s did not end in time and is killed", member.spec.name)
                member.process.kill(signal.SIGKILL)

    def _stop_owner_when_alone(self) -> None:
        if self._workers_run():
            return
        for member in self._members.values():
            if member.exit is None:
                self._gone(member, Exit(None, signal.SIGTERM))
        if self._kill_at is not None:
            self._kill_at.cancel()
        if self._owner.restart is not None:
            self._owner.restart.cancel()
        process = self._owner.process
        if process is None:
            self._finish()
            return
        self._keeper.tell(Leave())
        self.reactor.after(OWNER_STOP_S, functools.partial(process.kill, signal.SIGKILL))

    def _finish(self) -> None:
        if self._door is not None:
            self._door.close()
        self._keeper.close()
        self._done = True


def _in(delay_s: float) -> str:
    return f" in {delay_s:.1f} s" if delay_s else ""
