"""The registry in the owner's engine: commands of several sessions, exactly as in an owner process, without sockets."""

from __future__ import annotations

import functools
import math
import os
import weakref
from collections.abc import Iterator, Sequence
from typing import Any

import msgspec

from actors.clock import ManualClock
from actors.errors import CallTimeout, CommandError
from actors.frames import Answer, Ask, Batch
from actors.journal import Journal
from actors.owner import TICK_S
from actors.session_log import SessionLog
from actors.turns.engine import Engine
from registry import commands as c
from registry.actor import RegistryActor
from registry.state.records import BackendState, Grant
from registry.state.rules import DEFAULT_RULES, HealthRules
from tests.actors.counter import MemoryJournal

Call = tuple[int, int]
"""Session and number of a command."""

WAITS = object()
"""Stands for the answer of a command that has none yet."""

_decode = msgspec.msgpack.Decoder(Answer).decode
_encode = msgspec.msgpack.encode


class Life:
    """One owner's life after another, in the same memory; the logs are closed as soon as nobody refers to it.

    Attributes:
        clock: The time; it moves only when a test moves it.
        rules: How health is judged.
        journal: Where durable changes go.
        engine: That of the present owner.
        actor: Its registry.
        answers: The answers so far, decoded as far as they are of builtin types; an error as itself.
    """

    def __init__(
        self,
        journal: Journal | None = None,
        sessions: Sequence[int] = (1, 2, 3),
        rules: HealthRules = DEFAULT_RULES,
    ) -> None:
        self.clock = ManualClock()
        self.rules = rules
        self.journal: Journal = journal or MemoryJournal()
        self.answers: dict[Call, Any] = {}
        self._numbers: dict[int, int] = {}
        self._logs = [SessionLog.create()]  # what a supervisor holds, and what the present owner does
        weakref.finalize(self, _close, self._logs)
        self._live(1)
        for session in sessions:
            self.join(session)

    def _live(self, epoch: int) -> None:
        self.actor = RegistryActor(self.rules)
        log = SessionLog(os.dup(self._logs[0].fileno()))
        _close(self._logs[1:])
        self._logs[1:] = [log]
        handed_over = functools.partial(_handed_over, self._logs)  # not a method: an engine must not keep this object
        self.engine = Engine(self.actor, self.journal, log, self.clock, epoch, handed_over)
        self.engine.recover()

    def next_owner(self, journal: Journal | None = None) -> None:
        """The owner dies; its successor goes on with journal and session log."""
        if journal is not None:
            self.journal.close()
            self.journal = journal
        self._live(self.engine.epoch + 1)

    def next_system(self, journal: Journal | None = None) -> None:
        """Everything dies; what is in the journal is all that is left."""
        _close(self._logs)
        self._logs[:] = [SessionLog.create()]
        self._numbers.clear()
        self.next_owner(journal)

    def close(self) -> None:
        """Close the logs now: what was logged of an error may refer to this for as long as the test runs."""
        _close(self._logs)

    def join(self, session: int) -> None:
        self.engine.join(session)
        self.commit()

    # -- saying something --------------------------------------------------------------------------------------

    def say(self, command: c.Command, session: int = 1, deadline_s: float = math.inf) -> Call:
        """Let a command be applied, without an end of the turn."""
        return self._say(session, lambda number: Ask(number, deadline_s, 0, _raw(command)))

    def say_batch(self, commands: Sequence[c.Command], session: int = 1, *, atomic: bool) -> Call:
        """The same for a batch."""
        raw = [_raw(command) for command in commands]
        return self._say(session, lambda number: Batch(number, math.inf, 0, atomic, raw))

    def _say(self, session: int, make: Any) -> Call:
        number = self._numbers.get(session, 0) + 1
        self._numbers[session] = number
        self.engine.ask(session, make(number))
        return session, number

    def commit(self) -> set[Call]:
        """End the turn; returns the commands that were answered."""
        answered = set()
        for session, frames in self.engine.commit().items():
            for frame in frames:
                answer = _decode(frame)
                self.answers[session, answer.number] = _outcome(answer)
                answered.add((session, answer.number))
        return answered

    def do(self, command: c.Command, session: int = 1, deadline_s: float = math.inf) -> Any:
        """The answer of a command, or `WAITS`; raises its error."""
        call = self.say(command, session, deadline_s)
        self.commit()
        return self.answer(call)

    def answer(self, call: Call) -> Any:
        """The answer of a command, or `WAITS`; raises its error."""
        answer = self.answers.get(call, WAITS)
        if isinstance(answer, Exception):
            raise answer
        return answer

    def end(self, session: int) -> None:
        """A session ends."""
        self.engine.end(session)
        self.commit()

    def cancel(self, call: Call) -> None:
        """The caller waits no more."""
        self.engine.cancel(*call)
        self.commit()

    def tick(self, seconds: float = 0.0) -> None:
        """Let time pass and tell the owner."""
        self.clock.advance(seconds)
        self.engine.tick()
        self.commit()

    def live(self, seconds: float) -> None:
        """Let time pass as it does in an owner that runs, with a tick every half second."""
        ticks = int(seconds // TICK_S)
        for _ in range(ticks):
            self.tick(TICK_S)
        self.tick(seconds - ticks * TICK_S)

    # -- the registry's words ----------------------------------------------------------------------------------

    def acquire(self, session: int = 1, model: str = "m", **fields: Any) -> Grant:
        """A lease that is granted at once."""
        return grant_of(self.do(c.Acquire(model, **fields), session))

    def wait(self, session: int = 1, model: str = "m", deadline_s: float = math.inf, **fields: Any) -> Call:
        """An acquire that may have to wait."""
        call = self.say(c.Acquire(model, wait=True, **fields), session, deadline_s)
        self.commit()
        return call

    def release(self, grant: Grant, session: int = 1) -> None:
        self.do(c.Release(grant.id), session)

    def backends(self) -> Iterator[BackendState]:
        return iter(self.actor.backends.states(None, None))

    def served(self, *calls: Call) -> list[bool]:
        """Which of these commands have their answer."""
        return [call in self.answers for call in calls]


def _handed_over(logs: list[SessionLog], log: SessionLog) -> None:
    logs[0].close()
    logs[:] = [SessionLog(os.dup(log.fileno())), log]


def _close(logs: Sequence[SessionLog]) -> None:
    for log in logs:
        log.close()


def grant_of(answer: Any) -> Grant:
    """An answer to an acquire, as what it is."""
    return msgspec.convert(answer, Grant)


def _raw(command: c.Command) -> msgspec.Raw:
    return msgspec.Raw(_encode(command))


def _outcome(answer: Answer) -> Any:
    failure = answer.failure
    if failure is None:
        return msgspec.msgpack.decode(answer.result)
    if failure.code == CallTimeout.__name__:
        return CallTimeout(failure.message)
    return CommandError.classes()[failure.code](**failure.details)
