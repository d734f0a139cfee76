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

import msgspec

from actors.channel import Channel
from actors.clock import Clock, SystemClock
from actors.errors import AttachFailed, MessageInvalid, QueueClosed, StartFailed, SupervisorError, TooManyRestarts
from actors.exits import Exit
from actors.processes.attach_listener import AttachListener
from actors.processes.children import OWNER, SUPERVISOR, ChildSpec, FromChild, Member, OwnerSpec, unmeasured
from actors.processes.control import Ended, Failed, FreshLog, FromOwner, FromWorker, Leave, Ready, Start
from actors.processes.descriptors import PER_WORKER, need_room_for, raise_descriptor_limit
from actors.processes.hang_watch import HangWatch
from actors.processes.owner_keeper import OwnerKeeper
from actors.processes.process import Process
from actors.processes.reactor import Reactor, Timer
from actors.processes.restarts import RestartPolicy
from actors.processes.stacks import REQUEST
from actors.statistics import SupervisorStatistics

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
        spec = ChildSpec(OWNER, "actors.owner:main", policy=owner_policy or RestartPolicy())
        self._owner = Member(msgspec.structs.replace(spec, ready_within_s=owner.ready_within_s), self._chance)
        self._hang_s = owner.hang_s
        self._hang_watch = HangWatch(self._keeper.pulse, owner.hang_s, self.reactor, self._stands_still, self._hung)
        self._hangs = 0
        self._started_at = self._clock.monotonic()
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
            SupervisorError: The name is taken, the system is stopping, or there are too few descriptors.
        """
        if self._stopping is not None:
            reason = f"the system is stopping: {self._stopping}"
            raise SupervisorError(reason)
        taken = self._members.get(spec.name)
        if spec.name in {OWNER, SUPERVISOR} or (taken is not None and taken.exit is None):
            reason = f"there is already a process of the name {spec.name!r}"
            raise SupervisorError(reason)
        self._need_room_for(PER_WORKER)
        member = self._members[spec.name] = Member(spec, self._chance)
        if self._owner.ready_at is not None:
            self._start_worker(member)

    def join(self, pid: int) -> tuple[int, Channel]:
        """A new session for a process that was not started here; its number and the worker's end of its queue.

        Args:
            pid: Its process id, by which it is named.

        Raises:
            SupervisorError: There are too few descriptors for another session. Nothing was changed.
        """
        return self._new_session(1, pid)

    def leave(self, session: int, exit: Exit | None = None) -> None:
        """The process of a session is gone: nothing more may come, not even from a child that it has left behind.

        Args:
            session: Its number.
            exit: How its process ended; None if nobody knows.
        """
        self._keeper.leave(session, exit)

    def dump_stacks(self, name: str) -> None:
        """Let a process write the stacks of all its threads to standard error; it goes on as before.

        Raises:
            SupervisorError: No process of this name runs.
        """
        member = self._owner if name == OWNER else self._members.get(name)
        if name == SUPERVISOR:
            os.kill(os.getpid(), REQUEST)
        elif member is None or member.process is None:
            reason = f"no process of the name {name!r} runs"
            raise SupervisorError(reason)
        else:
            member.process.kill(REQUEST)

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

    def counts(self) -> SupervisorStatistics:
        """What goes on, without the machine's figures of the processes: it takes no time to speak of."""
        me = unmeasured(SUPERVISOR, os.getpid(), 0, ready=True, restarts=0)
        return SupervisorStatistics(
            epoch=self._keeper.epoch,
            sessions=len(self._keeper.sessions),
            attached=self._attached(),
            hangs=self._hangs,
            crashed_commands=self._keeper.blamed,
            log_memory_bytes=self._keeper.log_memory_bytes,
            uptime_s=self._clock.monotonic() - self._started_at,
            processes=(me, *(member.statistics() for member in (self._owner, *self._members.values()))),
        )

    def statistics(self) -> SupervisorStatistics:
        """What goes on, with the machine's figures; about a millisecond for each process."""
        from actors.processes.machine import measured  # noqa: PLC0415 - psutil takes its time to load, and few ask

        return measured(self.counts())

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

    def _new_session(self, descriptors: int, pid: int) -> tuple[int, Channel]:
        self._need_room_for(descriptors)
        try:
            return self._keeper.join(f"attached pid {pid}")
        except OSError as error:
            raise SupervisorError(f"there is no room for another session: {error.strerror}") from error

    def _open_door(self) -> None:
        join = functools.partial(self._new_session, PER_WORKER)
        try:
            self._door = AttachListener(self._attach, self.reactor, join, self.leave)
        except AttachFailed as error:
            logger.warning("no other process can join this system, nor one that a worker forks: %s", error)

    # -- the life of a process -------------------------------------------------------------------------------

    def _start_owner(self) -> None:
        payload, fds = self._keeper.next_life()
        self._launch(self._owner, payload, fds)
        process = self._owner.process
        if process is None:
            return
        try:
            self._keeper.begin(process)
        except OSError as error:
            self._owner.failure = _why_not(error)
            process.kill(signal.SIGKILL)

    def _start_worker(self, member: Member) -> None:
        member.restart = None
        try:
            member.session, channel = self._keeper.join(member.spec.name)
        except OSError as error:
            self._not_started(member, error)
            return
        self._launch(member, member.spec.payload, [channel.fileno(), *member.spec.fds])
        channel.close()

    def _launch(self, member: Member, payload: bytes, fds: Sequence[int]) -> None:
        spec = member.spec
        says, orphaned_by = (FromOwner, signal.SIGCONT) if member is self._owner else (FromWorker, signal.SIGKILL)
        start = Start(spec.name, spec.target, member.session, orphaned_by, self._attach)
        try:
            process: Process[FromChild] = Process(start, payload, fds, says)
        except OSError as error:
            self._keeper.leave(member.session, None)
            self._not_started(member, error)
            return
        overdue = functools.partial(self._overdue, member, process)
        member.begin(process, self.reactor.after(spec.ready_within_s, overdue))
        self.reactor.watch(process.pidfd, functools.partial(self._ended, member))
        self.reactor.watch(process.control.fileno(), functools.partial(self._hear, member))

    def _not_started(self, member: Member, error: OSError) -> None:
        member.ready_at = None
        member.failure = _why_not(error)
        self._restart(member, Exit(os.EX_OSERR, None))

    def _overdue(self, member: Member, process: Process[FromChild]) -> None:
        if member.process is process:
            member.failure = f"it was not ready within {member.spec.ready_within_s:g} s"
            process.kill(signal.SIGKILL)

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
                member.works(self._clock.monotonic())
                logger.info("%s is ready (pid %d)", member.spec.name, member.process.pid if member.process else 0)
                if member is self._owner:
                    self._keeper.works()
                    self._hang_watch.start()
                    self._start_waiting()
                self._tell_if_ready()
            case Failed():
                member.failure = message.reason
                member.hopeless = message.hopeless
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
        member.not_overdue()
        if member is self._owner:
            self._owner_ended(end)
            return
        self._keeper.leave(member.session, end)
        if self._stopping is None and not member.hopeless and member.history.wanted(end):
            self._restart(member, end)
            return
        self._gone(member, end)
        if self._stopping is not None:
            self._stop_owner_when_alone()

    def _owner_ended(self, end: Exit) -> None:
        self._hang_watch.stop()
        excused = self._keeper.ended(end, ours=self._owner.killed is not None)
        if self._stopping is None or self._workers_run():
            self._restart(self._owner, end, excused=excused)  # the workers still need one for what they finish
        else:
            self._finish()

    def _stands_still(self) -> None:
        process = self._owner.process
        if process is not None:
            logger.error("%s hung for %g s; its stacks follow, if it can still write them", OWNER, self._hang_s)
            process.kill(REQUEST)

    def _hung(self) -> None:
        process = self._owner.process
        if process is not None:
            self._hangs += 1
            self._owner.killed = f"hung for {self._hang_s:g} s"
            process.kill(signal.SIGKILL)

    def _attached(self) -> int:
        return len(self._keeper.sessions - {member.session for member in self._members.values()})

    def _need_room_for(self, wanted: int) -> None:
        watched = sum(member.exit is None for member in self._members.values())
        let_in = self._door.let_in if self._door is not None else 0
        need_room_for(wanted, watched + let_in, self._attached() - let_in)

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

    def _restart(self, member: Member, end: Exit, *, excused: bool = False) -> None:
        now = self._clock.monotonic()
        started = member.ready_at is not None
        lived_s = now - member.ready_at if member.ready_at is not None else None
        name, reason = member.spec.name, member.failure or member.killed or end
        if member is self._owner and not started and self._keeper.epoch == 1:
            self._give_up(StartFailed(member.failure or f"the owner did not start ({end})"), member, end)
            return
        # A death of which a command is suspected or guilty neither counts nor delays the next owner: it takes its
        # cause with it, because that command runs at most once more. If it counted, one client with a few such
        # commands could stop the system for all; and who waits is everybody else.
        delay_s = member.history.excuse() if excused else member.history.next_delay(now, lived_s)
        if delay_s is None:
            what = "crashed" if started else "failed to start"
            self._give_up(TooManyRestarts(f"{name}: {reason}; it {what} too often, so the system stops"), member, end)
            return
        logger.warning("%s%s: %s; starting it again%s", name, "" if started else " did not start", reason, _in(delay_s))
        member.ready_at = None
        start = self._start_owner if member is self._owner else functools.partial(self._start_worker, member)
        member.restart = self.reactor.after(delay_s, start)

    def _give_up(self, error: SupervisorError, member: Member, end: Exit) -> None:
        self._error = error
        logger.error("%s", error)
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
        self._hang_watch.stop()  # its loop ends now
        self._keeper.tell(Leave())
        self.reactor.after(OWNER_STOP_S, functools.partial(process.kill, signal.SIGKILL))

    def _finish(self) -> None:
        if self._door is not None:
            self._door.close()
        self._keeper.close()
        self._done = True


def _why_not(error: OSError) -> str:
    return f"cannot be started: {error.strerror}"


def _in(delay_s: float) -> str:
    return f" in {delay_s:.1f} s" if delay_s else ""
