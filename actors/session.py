"""The worker's side of a session, without any waiting or I/O: what to send, and what the arriving frames mean.

Both faces (`client`, blocking, and `aio`, asyncio) drive this one state machine. It numbers the commands, keeps each
until its answer is there, and when a new owner says `Welcome` it sends again, in order, whatever is unanswered. The
owner never applies a number twice, so a command is done exactly once whatever dies in between.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import msgspec

from actors import frames
from actors.clock import Clock
from actors.errors import CallError, CallTimeout, CommandError, OutcomeUnknown, Overloaded, SystemStopped
from actors.frames import (
    Acked,
    Answer,
    Ask,
    Batch,
    Bye,
    Cancel,
    Hello,
    Inspect,
    Numbered,
    Refused,
    Resync,
    Snapshot,
    Sync,
    Update,
    Watch,
    Welcome,
)
from actors.ranges import Range, Ranges
from actors.replica import Replica
from actors.statistics import QueueStatistics, SessionStatistics

MESSAGE_BYTES = 48 * 1024
"""Commands are gathered into one message up to about this size: it then fits one packet of the queue."""

ACKNOWLEDGE_AFTER = 64
"""While a command waits, so many later answers are acknowledged at a time,"""

ACKNOWLEDGE_BYTES = 1024 * 1024
"""or as many as have this length together."""

FRAME_BYTES = 64
"""More than a frame adds to the command it carries."""

_PLAIN_ERRORS: dict[str, type[CallError]] = {cls.__name__: cls for cls in (CallTimeout, Overloaded)}
"""Refusals by the runtime itself rather than by the actor."""


NOTHING = msgspec.Raw(frames.encode(None))

OnOrphan = Callable[[msgspec.Raw], bytes | None]
"""What to do with a result that arrives when nobody waits any more: makes a command that gives it back, or None."""


class Call(msgspec.Struct):
    """A command, or batch, on its way, and then its result or error.

    Attributes:
        ask: The frame that carries it.
        changes: Whether the command changes anything.
        on_orphans: What to do with a result that nobody takes; for a batch, with that of each of its commands.
        done: True once `result` or `error` is set, or nobody waits any more.
        cancelled: Whether the owner was told that nobody waits.
        result: The encoded result.
        error: Why there is none.
        waiter: Whatever the face waits on.
    """

    ask: Numbered
    changes: bool
    on_orphans: Sequence[OnOrphan | None] = ()
    done: bool = False
    cancelled: bool = False
    result: msgspec.Raw | None = None
    error: CallError | None = None
    waiter: Any = None

    @property
    def number(self) -> int:
        """Its number in the session."""
        return self.ask.number

    @property
    def deadline(self) -> float:
        """Instant on the clock by which the owner must start it, in seconds."""
        return self.ask.deadline

    def value(self) -> msgspec.Raw:
        """The encoded result.

        Raises:
            CallError: The command was refused, or nothing is known of it.
        """
        if self.error is not None:
            raise self.error
        assert self.result is not None  # noqa: S101 - an invariant of this class, not a check of input
        return self.result


class Session:
    """The state of one session in its worker process.

    Args:
        clock: Where deadlines are read.
        errors: The error classes that the owner's refusals may name, by code.
        replica: The copy of the views that is kept, if any shall be.
    """

    def __init__(
        self, clock: Clock, errors: dict[str, type[CommandError]] | None = None, replica: Replica | None = None
    ) -> None:
        self._clock = clock
        self._replica = replica
        self._errors = errors or CommandError.classes()
        self._next_number = 1
        self._calls: dict[int, Call] = {}
        self._outgoing: list[frames.ToOwner] = []
        self._answered = Ranges()
        self._unacknowledged = 0
        self._unacknowledged_bytes = 0
        self._closed: SystemStopped | None = None
        self.epoch = 0
        self.number = 0
        self.window = 1
        self.revision = 0
        self._resent = self._expired = self._refused = self._unknown_answers = 0

    # -- calls -----------------------------------------------------------------------------------------------

    def is_closed(self) -> bool:
        """Whether the session is over."""
        return self._closed is not None

    @property
    def has_room(self) -> bool:
        """Whether the window admits one more unanswered command."""
        return len(self._calls) < self.window

    @property
    def unanswered(self) -> int:
        """How many commands have no answer yet."""
        return len(self._calls)

    def is_unanswered(self, call: Call) -> bool:
        """Whether the answer to a call is still to come, also if nobody waits for it any more."""
        return call.number in self._calls

    def call(
        self,
        command: bytes,
        deadline: float,
        *,
        changes: bool = True,
        on_orphan: OnOrphan | None = None,
    ) -> Call:
        """Begin a command; `outgoing` then has something to send.

        Args:
            command: The encoded command.
            deadline: Instant by which the owner must start it.
            changes: Whether it changes anything: without an answer that is the difference between `OutcomeUnknown`
                and `CallTimeout`.
            on_orphan: What to do with a result that nobody takes.

        Raises:
            SystemStopped: The session is over.
        """
        ask = Ask(self._next_number, deadline, self._answered.upto, msgspec.Raw(command))
        return self._begin(ask, changes, () if on_orphan is None else (on_orphan,))

    def batch(
        self,
        commands: Iterable[bytes],
        deadline: float,
        *,
        atomic: bool = False,
        on_orphans: Sequence[OnOrphan | None] = (),
    ) -> Call:
        """Begin several commands that are done one after the other, with nothing in between, and answered as one.

        Args:
            commands: The encoded commands; at most `engine.MAX_BATCH`.
            deadline: Instant by which the owner must start them.
            atomic: Whether all are undone if one is refused.
            on_orphans: For each command, or for none, what to do with a result that nobody takes.

        Raises:
            SystemStopped: The session is over.
        """
        raws = [msgspec.Raw(command) for command in commands]
        batch = Batch(self._next_number, deadline, self._answered.upto, atomic, raws)
        return self._begin(batch, changes=True, on_orphans=on_orphans if any(on_orphans) else ())

    def inspect(self, deadline: float) -> Call:
        """Ask for the owner's statistics."""
        return self._begin(Inspect(self._next_number, deadline, self._answered.upto), changes=False)

    def watch(self, since: int | None, limit: int, deadline: float, *, wait: bool) -> Call:
        """Ask for what has changed; see `frames.Watch`."""
        watch = Watch(self._next_number, deadline, self._answered.upto, since, limit, wait)
        return self._begin(watch, changes=False)

    def sync(self, deadline: float) -> Call:
        """Ask for the copy of the views to be brought up to date, and for the copy itself if there is none yet."""
        self.follow()
        return self._begin(Sync(self._next_number, deadline, self._answered.upto), changes=False)

    def tell(self, command: bytes) -> None:
        """Begin a command whose answer nobody looks at; it is done exactly once all the same, however late.

        Raises:
            SystemStopped: The session is over.
        """
        self.call(command, math.inf).done = True

    @property
    def is_synced(self) -> bool:
        """Whether what a `sync` has brought up to date is whole. Updates may have been lost on the way."""
        return self._replica is None or self._replica.complete

    def follow(self) -> None:
        """Ask for the copy of the views, unless it was asked for before; `outgoing` then has something to send."""
        if self._replica is not None and not self._replica.following and self._closed is None:
            follow = self._replica.follow()
            if self.epoch:
                self._outgoing.append(follow)

    def leave(self) -> None:
        """Say farewell, so that the owner need not wonder how this process ended."""
        if self.epoch and self._closed is None:
            self._outgoing.append(Bye())

    def _begin(self, ask: Numbered, changes: bool, on_orphans: Sequence[OnOrphan | None] = ()) -> Call:
        if self._closed is not None:
            raise self._closed
        call = Call(ask, changes, on_orphans)
        self._next_number += 1  # together with the next line, so that no number is ever without its command
        self._calls[ask.number] = call
        if self.epoch:
            self._outgoing.append(ask)
        return call

    def begun_with(self, deadline: float) -> Call | None:
        """The unanswered call that was begun with this deadline, the very object.

        For a caller that was interrupted before it could take what `call` gave it.
        """
        return next((call for call in self._calls.values() if call.deadline is deadline), None)

    def abandon(self, call: Call) -> None:
        """Nobody waits for this call any more. It is still done exactly once, and what it may grant is given back.

        That holds too if the result is there already and its caller was interrupted before it could take it. The
        owner is told, in case the command waits for something there; `outgoing` may then have something to send.
        """
        call.waiter = None
        if call.result is not None:
            self._give_back(call, call.result)
        call.done = True
        if call.number in self._calls and not call.cancelled:
            call.cancelled = True
            if self.epoch and self._closed is None:
                self._outgoing.append(Cancel(call.number))

    def ask_again(self) -> None:
        """An answer may have been lost within this process: ask for all that are missing.

        The owner does nothing twice; it answers a command that was done from memory. If what was lost is the Welcome of
        a new owner, that says it again at a Hello which is not for its epoch.
        """
        if self._closed is None:
            self._answered = self._all_but_unanswered()
            self._outgoing = [Hello(self.epoch, self._answered_ranges()), *self._unanswered_frames()]

    def _all_but_unanswered(self) -> Ranges:
        """The numbers that have been answered, also if an interrupt came between the answer and the note of it."""
        answered = Ranges()
        before = 0
        for number in self._calls:
            answered.add_range(before + 1, number - 1)
            before = number
        answered.add_range(before + 1, self._next_number - 1)
        return answered

    def _unanswered_frames(self) -> list[frames.ToOwner]:
        """All that the owner must be told anew. The copy is first: what it must hold comes before the answers."""
        follows: list[frames.ToOwner] = []
        if self._replica is not None and self._replica.following:
            follows.append(self._replica.follow())
        asks: list[frames.ToOwner] = [call.ask for call in self._calls.values()]
        return follows + asks + [Cancel(call.number) for call in self._calls.values() if call.cancelled]

    def awaited(self) -> list[Call]:
        """The calls that somebody waits for."""
        return [call for call in self._calls.values() if not call.done]

    def expire(self, call: Call) -> None:
        """The caller's time is over: set the error that says what is known of the command."""
        self._expired += 1
        self.abandon(call)
        if call.changes and self.epoch:
            call.error = OutcomeUnknown("no answer by the deadline: the change may or may not have been made")
        else:
            call.error = CallTimeout("no answer by the deadline; nothing was changed")

    def close(self, error: SystemStopped) -> list[Call]:
        """The session is over: give every call this error; returns those that somebody waits for."""
        self._closed = error
        waiting = self.awaited()
        for call in waiting:
            call.error = error
            call.done = True
        self._calls.clear()
        self._outgoing.clear()
        if self._replica is not None:
            self._replica.incomplete()
        return waiting

    # -- frames ----------------------------------------------------------------------------------------------

    @property
    def has_outgoing(self) -> bool:
        """Whether `outgoing` has something to send."""
        return bool(self._outgoing)

    def outgoing(self) -> bytes | None:
        """The next message for the owner, or None. Call it until it gives None."""
        waiting = self._outgoing
        if not waiting:
            return None
        if len(waiting) == 1:
            message = frames.encode(waiting)
            waiting.clear()
            return message
        count = size = 0
        for frame in waiting:
            size += _size(frame)
            if count and size > MESSAGE_BYTES:
                break
            count += 1
        message = frames.encode(waiting[:count])
        del waiting[:count]
        return message

    def receive(self, message: bytes) -> list[Call]:
        """Take a message of the owner; returns the calls it completed that somebody waits for."""
        completed: list[Call] = []
        for frame in frames.decode_to_worker(message):
            match frame:
                case Answer():
                    call = self._answer(frame)
                    if call is not None:
                        completed.append(call)
                case Welcome():
                    self._welcome(frame)
                case Refused():
                    self._refused += 1
                case Snapshot() | Update() | Resync():
                    self._hear_of_views(frame)
        return completed

    def _hear_of_views(self, frame: Snapshot | Update | Resync) -> None:
        replica = self._replica
        if replica is None or self._closed is not None:
            return
        if isinstance(frame, Resync):
            self._outgoing.append(replica.resync())
            return
        if isinstance(frame, Update):
            replica.update(frame)
        else:
            replica.snapshot(frame, self.epoch)
        self.revision = max(self.revision, frame.revision)

    def _welcome(self, frame: Welcome) -> None:
        if self.epoch:
            self._resent += len(self._calls)
        self.epoch = frame.epoch
        self.number = frame.session
        self.window = frame.window
        self._outgoing = [Hello(frame.epoch, self._answered_ranges()), *self._unanswered_frames()]

    def _answer(self, frame: Answer) -> Call | None:
        call = self._calls.get(frame.number)
        if call is None:
            self._unknown_answers += 1
            return None
        waited_for = not call.done
        if frame.failure is None:
            if waited_for:
                call.result = frame.result
        elif waited_for:
            call.error = self.error(frame.failure)
        # A signal handler may raise wherever something is called. Up to here the answer will be asked for again, after
        # the next two lines whoever waits has it.
        del self._calls[frame.number]
        call.done = True
        self._answered.add(frame.number)
        if self._answered.above:
            self._acknowledge_soon(len(frame.result))
        if frame.revision > self.revision:  # noqa: PLR1730 - `max` takes three times as long, and this is every call
            self.revision = frame.revision
        if waited_for:
            return call
        if frame.failure is None:
            self._give_back(call, frame.result)
        return None

    def _answered_ranges(self) -> list[Range]:
        return self._answered.ranges()[: frames.MAX_RANGES]

    def _acknowledge_soon(self, size: int) -> None:
        """An answer came past a command that waits, so the next `Ask` cannot acknowledge it: it is done apart."""
        self._unacknowledged += 1
        self._unacknowledged_bytes += size
        if self._unacknowledged >= ACKNOWLEDGE_AFTER or self._unacknowledged_bytes >= ACKNOWLEDGE_BYTES:
            self._outgoing.append(Acked(self._answered_ranges()))
            self._unacknowledged = self._unacknowledged_bytes = 0

    def _give_back(self, call: Call, result: msgspec.Raw) -> None:
        if not call.on_orphans or self.is_closed():
            return
        results = [result]
        if isinstance(call.ask, Batch):
            results = [NOTHING if one.failure else one.result for one in frames.decode_outcomes(result)]
        for on_orphan, one in zip(call.on_orphans, results, strict=True):
            if on_orphan is not None and one is not NOTHING and (compensation := on_orphan(one)) is not None:
                self.tell(compensation)

    def outcomes(self, call: Call) -> list[msgspec.Raw | CallError]:
        """The encoded results of a batch, and the errors of those of its commands that were refused.

        Raises:
            CallError: The whole batch was refused, or nothing is known of it.
        """
        return [
            outcome.result if outcome.failure is None else self.error(outcome.failure)
            for outcome in frames.decode_outcomes(call.value())
        ]

    def error(self, failure: frames.Failure) -> CallError:
        """The error that a refusal stands for."""
        error = self._rebuild(failure)
        if failure.index is not None and isinstance(error, CommandError):
            error.index = failure.index
        return error

    def _rebuild(self, failure: frames.Failure) -> CallError:
        plain = _PLAIN_ERRORS.get(failure.code)
        if plain is not None:
            return plain(failure.message)
        cls = self._errors.get(failure.code, CommandError)
        if cls is not CommandError:
            try:
                return cls(**failure.details)
            except TypeError:  # a class of that name, but not the one that the owner knows
                pass
        if failure.code == CommandError.code:  # of an error that could not travel, the details say which it was
            return CommandError(failure.message, **{"code": failure.code, **failure.details})
        return CommandError(failure.message, **{**failure.details, "code": failure.code})

    def statistics(self, queue: QueueStatistics) -> SessionStatistics:
        """A snapshot; `queue` is that of this process's end of the queue."""
        return SessionStatistics(
            session=self.number,
            epoch=self.epoch,
            revision=self.revision,
            window=self.window,
            unanswered=len(self._calls),
            asked=self._next_number - 1,
            answered=self._next_number - 1 - len(self._calls),
            resent=self._resent,
            expired=self._expired,
            refused=self._refused,
            unknown_answers=self._unknown_answers,
            queue=queue,
        )


def _size(frame: frames.ToOwner) -> int:
    """About how many bytes a frame takes in a message."""
    if isinstance(frame, Ask):
        return FRAME_BYTES + len(frame.command)
    return FRAME_BYTES + (sum(map(len, frame.commands)) if isinstance(frame, Batch) else 0)
