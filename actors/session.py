"""The worker's side of a session, without any waiting or I/O: what to send, and what the arriving frames mean.

Both faces (`client`, blocking, and `aio`, asyncio) drive this one state machine. It numbers the commands, keeps each
until its answer is there, and when a new owner says `Welcome` it sends again, in order, whatever is unanswered. The
owner never applies a number twice, so a command is done exactly once whatever dies in between.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Any

import msgspec

from actors import frames
from actors.clock import Clock
from actors.errors import CallError, CallTimeout, CommandError, OutcomeUnknown, Overloaded, SystemStopped
from actors.frames import Answer, Ask, Hello, Range, Refused, Welcome

MESSAGE_BYTES = 256 * 1024
"""Commands are gathered into one message up to about this size."""

FRAME_BYTES = 64
"""More than a frame adds to the command it carries."""

_PLAIN_ERRORS: dict[str, type[CallError]] = {cls.__name__: cls for cls in (CallTimeout, Overloaded)}
"""Refusals by the runtime itself rather than by the actor."""


class Call(msgspec.Struct):
    """A command on its way, and then its result or error.

    Attributes:
        ask: The frame that carries it.
        changes: Whether the command changes anything.
        on_orphan: What to do with a result that nobody takes.
        done: True once `result` or `error` is set.
        result: The encoded result.
        error: Why there is none.
        waiter: Whatever the face waits on.
    """

    ask: Ask
    changes: bool
    on_orphan: Callable[[msgspec.Raw], bytes | None] | None = None
    done: bool = False
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
    """

    def __init__(self, clock: Clock, errors: dict[str, type[CommandError]] | None = None) -> None:
        self._clock = clock
        self._errors = errors or CommandError.classes()
        self._next_number = 1
        self._calls: dict[int, Call] = {}
        self._outgoing: list[Hello | Ask] = []
        self._answered = 0
        self._answered_above: set[int] = set()
        self._closed: SystemStopped | None = None
        self.epoch = 0
        self.number = 0
        self.window = 1
        self.revision = 0
        self.refused = 0
        self.unknown_answers = 0

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

    def call(
        self,
        command: bytes,
        deadline: float,
        *,
        changes: bool = True,
        on_orphan: Callable[[msgspec.Raw], bytes | None] | None = None,
    ) -> Call:
        """Begin a command; `outgoing` then has something to send.

        Args:
            command: The encoded command.
            deadline: Instant by which the owner must start it.
            changes: Whether it changes anything: without an answer that is the difference between `OutcomeUnknown`
                and `CallTimeout`.
            on_orphan: What to do with a result that arrives when nobody waits any more: makes a command that
                gives it back, or None.

        Raises:
            SystemStopped: The session is over.
        """
        if self._closed is not None:
            raise self._closed
        ask = Ask(self._next_number, deadline, self._answered, msgspec.Raw(command))
        self._next_number += 1
        call = Call(ask, changes, on_orphan)
        self._calls[ask.number] = call
        if self.epoch:
            self._outgoing.append(ask)
        return call

    def abandon(self, call: Call) -> None:
        """Nobody waits for this call any more. It is still done exactly once, and what it may grant is given back.

        That holds too if the result is there already and its caller was interrupted before it could take it; then
        `outgoing` may have something to send.
        """
        call.waiter = None
        if call.result is not None:
            self._give_back(call, call.result)
        call.done = True

    def ask_again(self) -> None:
        """An answer may have been lost within this process: ask for all that are missing.

        The owner does nothing twice; it answers a command that was done from memory.
        """
        if self.epoch and self._closed is None:
            hello = [frame for frame in self._outgoing if isinstance(frame, Hello)]
            self._outgoing = [*hello, *(call.ask for call in self._calls.values())]

    def expire(self, call: Call) -> None:
        """The caller's time is over: set the error that says what is known of the command."""
        self.abandon(call)
        if call.changes and self.epoch:
            call.error = OutcomeUnknown("no answer by the deadline: the change may or may not have been made")
        else:
            call.error = CallTimeout("no answer by the deadline; nothing was changed")

    def close(self, error: SystemStopped) -> list[Call]:
        """The session is over: give every call this error; returns those that somebody waits for."""
        self._closed = error
        waiting = [call for call in self._calls.values() if not call.done]
        for call in waiting:
            call.error = error
            call.done = True
        self._calls.clear()
        self._outgoing.clear()
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
            size += FRAME_BYTES + (len(frame.command) if isinstance(frame, Ask) else 0)
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
                    self.refused += 1
        return completed

    def _welcome(self, frame: Welcome) -> None:
        self.epoch = frame.epoch
        self.number = frame.session
        self.window = frame.window
        again = [call.ask for call in self._calls.values()]
        self._outgoing = [Hello(frame.epoch, self._answered_ranges()), *again]

    def _answer(self, frame: Answer) -> Call | None:
        call = self._calls.get(frame.number)
        if call is None:
            self.unknown_answers += 1
            return None
        if not call.done and frame.failure is None:
            call.result = frame.result  # first of all: an interrupted caller gives back what it finds here
        del self._calls[frame.number]
        self._note_answered(frame.number)
        if frame.revision > self.revision:  # noqa: PLR1730 - `max` takes three times as long, and this is every call
            self.revision = frame.revision
        if call.done:
            if frame.failure is None:
                self._give_back(call, frame.result)
            return None
        if frame.failure is not None:
            call.error = self._error(frame.failure)
        call.done = True
        return call

    def _give_back(self, call: Call, result: msgspec.Raw) -> None:
        if call.on_orphan is None or self.is_closed():
            return
        compensation = call.on_orphan(result)
        if compensation is not None:
            self.abandon(self.call(compensation, math.inf))

    def _error(self, failure: frames.Failure) -> CallError:
        plain = _PLAIN_ERRORS.get(failure.code)
        if plain is not None:
            return plain(failure.message)
        cls = self._errors.get(failure.code, CommandError)
        if cls is not CommandError:
            try:
                return cls(**failure.details)
            except TypeError:  # a class of that name, but not the one that the owner knows
                pass
        return CommandError(failure.message, **{**failure.details, "code": failure.code})

    # -- what has been answered ------------------------------------------------------------------------------

    def _note_answered(self, number: int) -> None:
        if number != self._answered + 1:
            self._answered_above.add(number)
            return
        self._answered = number
        above = self._answered_above
        while above and self._answered + 1 in above:
            self._answered += 1
            above.remove(self._answered)

    def _answered_ranges(self) -> list[Range]:
        ranges = [(1, self._answered)] if self._answered else []
        return ranges + list(_ranges(sorted(self._answered_above)))


def _ranges(numbers: Iterable[int]) -> Iterable[Range]:
    """Consecutive numbers as ranges.

    >>> list(_ranges([3, 4, 5, 9]))
    [(3, 5), (9, 9)]
    """
    first = last = None
    for number in numbers:
        if last is not None and number == last + 1:
            last = number
            continue
        if first is not None and last is not None:
            yield first, last
        first = last = number
    if first is not None and last is not None:
        yield first, last
