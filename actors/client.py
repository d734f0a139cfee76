"""The blocking face of a session: one client serves all threads of a process."""

from __future__ import annotations

import select
import threading
from collections.abc import Callable, Sequence

import msgspec

from actors.channel import LONGEST_WAIT_S, Channel
from actors.clock import Clock, SystemClock
from actors.errors import ActorsError, CallError, CommandError, Overloaded, QueueClosed, SystemStopped
from actors.forks import LINEAGE, Rejoin, cannot_rejoin
from actors.history import MAX_STEPS, Watched, decode_watched
from actors.replica import LOOK_AFTER_S, Replica
from actors.session import FRAME_BYTES, Call, OnOrphan, Session
from actors.spinning import Spinning
from actors.statistics import OwnerStatistics, SessionStatistics

DEFAULT_TIMEOUT_S = 10.0
"""How long a call waits for its answer unless told otherwise; an owner that is killed is back well before."""


READER_S = 0.01
"""How long a call whose time is over waits for what another thread has read already."""

LAST_WORD_S = 0.02
"""How long one that may have been granted something just then waits for the owner's last word on it."""


class Client:
    """Asks the owner and waits.

    Whichever thread finds nobody reading the queue reads it for all of them; the others sleep until their answer
    is there or until it is their turn to read.

    Args:
        channel: The worker's end of its queue.
        errors: The error classes that the owner's refusals may name, by code.
        clock: Where deadlines are read.
        rejoin: Gives a process that is forked from this one a queue of its own, at its first call.
        replica: The copy of the actor's views that `refresh` keeps up to date, from its first call on.
    """

    def __init__(
        self,
        channel: Channel,
        errors: dict[str, type[CommandError]] | None = None,
        clock: Clock | None = None,
        rejoin: Rejoin = cannot_rejoin,
        replica: Replica | None = None,
    ) -> None:
        self._clock = clock or SystemClock()
        self._errors = errors
        self._rejoin = rejoin
        self._replica = replica
        self._begin(channel)
        LINEAGE.watch(self)

    def _begin(self, channel: Channel) -> None:
        self._channel = channel
        self.session = Session(self._clock, self._errors, self._replica)
        self._lock = threading.RLock()  # which knows whose it is, also after an interrupt
        self._changed = threading.Condition(self._lock)
        self._sleepers = 0
        self._reader = 0
        self._poll = select.poll()
        self._poll.register(channel.fileno(), select.POLLIN)
        self._polls_for_room = False
        self._spinning = Spinning()
        self._absent = False  # last: from now on other threads take the new lock

    def ask(
        self,
        command: bytes,
        *,
        timeout: float = DEFAULT_TIMEOUT_S,
        changes: bool = True,
        on_orphan: OnOrphan | None = None,
    ) -> msgspec.Raw:
        """Send a command and wait for its result.

        Args:
            command: The encoded command.
            timeout: Longest wait in seconds.
            changes: Whether the command changes anything.
            on_orphan: Makes the command that gives back a result which comes too late, or None.

        Raises:
            CommandError: The owner refused; nothing was changed.
            CallTimeout: No answer in time; nothing was changed.
            OutcomeUnknown: No answer in time; the change may have been made.
            Overloaded: All the time passed while too many commands of this process were unanswered.
            MessageTooLarge: The command is over the queue's limit.
            SystemStopped: The session is over.
            AttachFailed: This process was forked, and could not join the system.
        """
        deadline = self._clock.monotonic() + timeout
        if self._absent:
            self._return(timeout)
        call = None
        try:
            with self._lock:
                self._wait_for_room(len(command), deadline)
                call = self.session.call(command, deadline, changes=changes, on_orphan=on_orphan)
                self._wait_for_answer(call)
            return call.value()
        except BaseException as error:
            self._leave_call(call, deadline, error)
            raise

    def batch(
        self,
        commands: Sequence[bytes],
        *,
        atomic: bool = False,
        timeout: float = DEFAULT_TIMEOUT_S,
        on_orphans: Sequence[OnOrphan | None] = (),
    ) -> list[msgspec.Raw | CallError]:
        """Send several commands that are done one after the other with nothing in between, and wait for their results.

        Args:
            commands: The encoded commands, at most 1,000; none of them may have to wait for another session.
            atomic: Whether all are undone if one is refused; its error is then raised, with its place as `index`.
            timeout: Longest wait in seconds.
            on_orphans: For each command, or for none, what `ask` calls `on_orphan`.

        Returns:
            For each command its result, or the error that it was refused with.

        Raises:
            CallError: As of `ask`, for the batch as a whole.
        """
        deadline = self._clock.monotonic() + timeout
        if self._absent:
            self._return(timeout)
        call = None
        try:
            with self._lock:
                self._wait_for_room(sum(len(command) + FRAME_BYTES for command in commands), deadline)
                call = self.session.batch(commands, deadline, atomic=atomic, on_orphans=on_orphans)
                self._wait_for_answer(call)
            return self.session.outcomes(call)
        except BaseException as error:
            self._leave_call(call, deadline, error)
            raise

    def owner_statistics(self, *, timeout: float = DEFAULT_TIMEOUT_S) -> OwnerStatistics:
        """A snapshot of the owner; raises as `ask`."""
        raw = self._question(Session.inspect, timeout)
        return msgspec.msgpack.decode(raw, type=OwnerStatistics)

    def watch(
        self, since: int | None, *, limit: int = MAX_STEPS, wait: bool = True, timeout: float = DEFAULT_TIMEOUT_S
    ) -> Watched:
        """What has changed.

        Args:
            since: The steps after this revision; None for the latest ones.
            limit: So many steps at most. Long ones are fewer.
            wait: Whether to wait for a step if there is none yet; other threads' calls go on meanwhile.
            timeout: Longest wait in seconds; then `CallTimeout`.

        Raises:
            Compacted: The history does not reach back to `since`.
            CommandInvalid: There is no such revision yet.
            CallError: As of `ask`.
        """

        def begin(session: Session, deadline: float) -> Call:
            return session.watch(since, limit, deadline, wait=wait)

        return decode_watched(self._question(begin, timeout))

    def sync(self, *, timeout: float = DEFAULT_TIMEOUT_S) -> None:
        """Bring the copy of the views up to date, lazy ones too.

        From then on it shows, to who holds `lock`, all that any process was answered before this was called. The first
        call asks the owner for the copy, and waits for it.

        Args:
            timeout: Longest wait in seconds.

        Raises:
            CallError: As of `ask`; nothing is changed in any case.
        """
        deadline = self._clock.monotonic() + timeout
        self._question(Session.sync, timeout)
        while not self.session.is_synced:
            self._question(Session.sync, deadline - self._clock.monotonic())

    def _question(self, begin: Callable[[Session, float], Call], timeout: float) -> msgspec.Raw:
        """Ask what is no command; raises as `ask`."""
        deadline = self._clock.monotonic() + timeout
        if self._absent:
            self._return(timeout)
        call = None
        try:
            with self._lock:
                self._wait_for_room(0, deadline)
                call = begin(self.session, deadline)
                self._wait_for_answer(call)
            return call.value()
        except BaseException as error:
            self._leave_call(call, deadline, error)
            raise

    @property
    def lock(self) -> threading.RLock:
        """Whoever holds it sees the copy of the views at one moment; another one in a forked child."""
        return self._lock

    def refresh(self) -> bool:
        """Take in what has come for the copy of the views, without waiting; whether it may be read from.

        The first call asks the owner for the copy. As long as there is no whole one, the owner must be asked for what
        is to be read; so it is after the end of the session, and then it raises what is to be raised.
        """
        replica = self._replica
        if replica is None or self._absent:
            return False
        try:
            with self._lock:
                self.session.follow()
                self._receive()
                if replica.complete:
                    replica.current_until = self._clock.monotonic() + LOOK_AFTER_S
                return replica.complete
        except BaseException as error:
            self._recover(error)
            raise

    def statistics(self) -> SessionStatistics:
        """A snapshot of this end."""
        with self._lock:
            return self.session.statistics(self._channel.statistics())

    def tell(self, command: bytes, *, timeout: float = DEFAULT_TIMEOUT_S) -> None:
        """Send a command and do not wait; it is done exactly once all the same, however late.

        Args:
            command: The encoded command.
            timeout: Longest wait for room in seconds.

        Raises:
            Overloaded: There was no room for it in time.
            SystemStopped: The session is over.
            AttachFailed: This process was forked, and could not join the system.
        """
        if self._absent:
            self._return(timeout)
        try:
            with self._lock:
                if self.session.unanswered * 2 > self.session.window:
                    self._receive()
                self._wait_for_room(len(command), self._clock.monotonic() + timeout)
                self.session.tell(command)
                self._send()
        except BaseException as error:
            self._recover(error)
            raise

    def close(self) -> None:
        """Leave: the owner gives back all that this session holds."""
        with self._lock:
            self._absent = False
            self.session.leave()
            self._send()
            self._end("this session was closed")

    # -- in a child that was forked --------------------------------------------------------------------------

    def forked(self) -> None:
        """Let go of the parent's session; see `Forkable`. The next call joins anew."""
        self._channel.close()
        self._lock = threading.RLock()
        if self._replica is not None:
            self._replica.forget()
        if not self.session.is_closed():
            self.session.close(
                SystemStopped("the session is over: it was that of the process this one was forked from")
            )
            self._absent = True

    def _return(self, timeout_s: float) -> None:
        with self._lock:  # `_begin` makes another one: whoever waits for this one finds nothing left to do
            if self._absent:
                self._begin(self._rejoin(timeout_s))

    def _leave_call(self, call: Call | None, deadline: float, error: BaseException) -> None:
        """A signal handler has raised here (KeyboardInterrupt): what the command grants is still given back."""
        if isinstance(error, ActorsError):
            return
        with self._lock:
            call = call or self.session.begun_with(deadline)
            if call is not None:
                self.session.abandon(call)
        self._recover(error)

    def _recover(self, error: BaseException) -> None:
        """A signal handler has raised here: something may have been lost between the socket and the session."""
        if isinstance(error, ActorsError):
            return
        with self._lock:
            self._channel.drop_partial()
            self.session.ask_again()
            if self._reader == threading.get_ident():
                self._reader = 0
            self._send()
            self._changed.notify_all()  # one of the others may have its answer without having been told

    # -- all of these run with the lock held -----------------------------------------------------------------

    def _wait_for_answer(self, call: Call) -> None:
        self._send()
        while not call.done:
            self._wait_safely(call.deadline)
            self._expire_if_due(call)
        if self.session.has_outgoing:  # a Cancel, say
            self._send()
        if self._sleepers and not self._reader:
            self._changed.notify()

    def _wait_for_room(self, size: int, deadline: float) -> None:
        self._channel.check_size(size + FRAME_BYTES)
        while not (self.session.has_room or self.session.is_closed()):
            late = self._clock.monotonic() >= deadline
            self._wait_safely(deadline)
            if late and not self.session.has_room:
                reason = f"{self.session.unanswered} commands of this process are unanswered"
                raise Overloaded(reason)

    def _expire_if_due(self, call: Call) -> None:
        if not call.done and self._clock.monotonic() >= call.deadline:
            # After a wait that took too long (a stopped process) it may have been there for long.
            if self._reader:
                self._sleep(READER_S)
            else:
                self._receive()
            if not call.done:
                self.session.expire(call)
                if call.on_orphans:
                    self._hear_last_word(call)

    def _hear_last_word(self, call: Call) -> None:
        """What was granted before the owner read the Cancel is given back now: this process may not read again soon."""
        self._send()
        until = self._clock.monotonic() + LAST_WORD_S
        while self.session.is_unanswered(call) and self._clock.monotonic() < until:
            self._wait_safely(until)

    def _wait_safely(self, deadline: float) -> None:
        try:
            self._wait(deadline)
        except BaseException:
            self._hold_again()  # a signal handler may raise just where the lock is taken again
            raise

    def _wait(self, deadline: float) -> None:
        """Wait until something has changed, or the deadline; the lock is given up meanwhile."""
        remaining_s = max(0.0, deadline - self._clock.monotonic())
        if self._reader:
            self._sleep(remaining_s)
            return
        self._reader = threading.get_ident()
        message = None
        gone: QueueClosed | None = None
        try:
            self._lock.release()
            message = self._wait_unlocked(remaining_s)
        except QueueClosed as error:
            gone = error
        finally:
            try:
                self._hold_again()
            finally:
                self._reader = 0
        if gone is not None:
            self._end(str(gone))
        elif message is not None:
            self.session.receive(message)
            if self.session.has_outgoing:
                self._send()
        else:
            self._receive()
        if self._sleepers:
            self._changed.notify_all()

    def _wait_unlocked(self, seconds: float) -> bytes | None:
        """Wait for a message; None if something else may have come of it, room to send or the end of the time."""
        # With other threads' calls under way, the processor time of a look would be theirs.
        if seconds > 0 and self.session.unanswered <= 1:
            message = self._spinning.until(self._channel.receive)
            if message is not None:
                return message
        if seconds > LONGEST_WAIT_S and not self._polls_for_room:
            return self._channel.wait_and_receive()
        self._poll.poll(seconds * 1_000)
        return None

    def _sleep(self, seconds: float) -> None:
        """Another thread reads; wait until it has read something, or must hand over."""
        self._sleepers += 1
        try:
            self._changed.wait(min(seconds, threading.TIMEOUT_MAX))
        finally:
            self._sleepers -= 1
            self._hold_again()

    def _hold_again(self) -> None:
        """Take the lock, however often a signal handler raises meanwhile; then raise what it did."""
        interrupt: BaseException | None = None
        while not self._lock._is_owned():  # type: ignore[attr-defined]  # noqa: SLF001 - what `Condition` asks as well
            try:
                self._lock.acquire()
            except BaseException as error:  # noqa: BLE001 - it is raised below
                interrupt = error
        if interrupt is not None:
            raise interrupt

    def _receive(self) -> None:
        if self._reader:
            return  # whoever reads takes in what comes, in order
        if self.session.is_closed():
            self._channel.close()
            return
        try:
            while (message := self._channel.receive()) is not None:
                self.session.receive(message)
        except QueueClosed as error:
            self._end(str(error))
            return
        self._send()

    def _send(self) -> None:
        if self.session.is_closed():
            return
        try:
            unsent = self._channel.post_all(self.session.outgoing)
        except QueueClosed as error:
            self._end(str(error))
            return
        if unsent is not self._polls_for_room:
            self._polls_for_room = unsent
            self._poll.modify(self._channel.fileno(), select.POLLIN | (select.POLLOUT if unsent else 0))

    def _end(self, reason: str) -> None:
        if not self.session.is_closed():
            self.session.close(SystemStopped(f"the session is over: {reason}"))
            self._channel.hang_up()
            self._changed.notify_all()
        if not self._reader:
            self._channel.close()  # else by whoever waits on it, whom the end of the line wakes
