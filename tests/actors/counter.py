"""A small actor for the tests of the runtime: counts that last, counts that do not, and holds of sessions."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from typing import Any

import msgspec

from actors.actor import LATER, Actor, CallId, Context
from actors.errors import CommandError, Compacted, StorageUnavailable
from actors.exits import Exit
from actors.history import StoredChange, StoredStep
from actors.journal import Journal, Loaded, NoJournal, SavedRow, Step
from actors.session_log import SessionLog
from actors.tables import Table


class Increment(msgspec.Struct, frozen=True, tag=True, forbid_unknown_fields=True):
    """Add one; answered with the new count."""

    key: str
    durable: bool = False


class Get(msgspec.Struct, frozen=True, tag=True, forbid_unknown_fields=True):
    """A count."""

    key: str
    durable: bool = False


class Take(msgspec.Struct, frozen=True, tag=True, forbid_unknown_fields=True):
    """Hold one more of something for this session; answered with what is held in all."""


class GiveBack(msgspec.Struct, frozen=True, tag=True, forbid_unknown_fields=True):
    """Hold one less."""


class Held(msgspec.Struct, frozen=True, tag=True, forbid_unknown_fields=True):
    """What all sessions hold."""


class Queue(msgspec.Struct, frozen=True, tag=True, forbid_unknown_fields=True):
    """Stand in line; answered when it is one's turn, with how many were served before."""


class Serve(msgspec.Struct, frozen=True, tag=True, forbid_unknown_fields=True):
    """Let the first in line have its answer; answered with how many still wait, or None if nobody did."""


class Fail(msgspec.Struct, frozen=True, tag=True, forbid_unknown_fields=True):
    """Change something, and then fail: refused, by a fault of the actor, or with what cannot be encoded."""

    how: str


class Nested(msgspec.Struct, frozen=True, tag=True, forbid_unknown_fields=True):
    """Any value; answered with it."""

    value: Any


class Repeat(msgspec.Struct, frozen=True, tag=True, forbid_unknown_fields=True):
    """A short command with a long answer: so many characters."""

    times: int


class Refused(CommandError):
    """The actor says no.

    Args:
        value: Why.
    """

    def __init__(self, value: Any) -> None:
        super().__init__(f"no: {value}", value=value)
        self.value = value


class CounterActor(Actor):
    """Counts and holds."""

    commands = Increment | Get | Take | GiveBack | Held | Queue | Serve | Fail | Nested | Repeat

    def __init__(self) -> None:
        self.passing: Table[str, int] = Table("passing", str, int, durable=False)
        self.lasting: Table[str, int] = Table("lasting", str, int, durable=True)
        self.held: Table[int, int] = Table("held", int, int, durable=False)
        self.line: Table[CallId, int] = Table("line", tuple[int, int], int, durable=False)
        self.ticks = 0
        self.exits: list[Exit | None] = []

    @property
    def tables(self) -> Sequence[Table[Any, Any]]:
        return [self.passing, self.lasting, self.held, self.line]

    def apply(self, command: Any, context: Context) -> Any:  # noqa: C901, PLR0911 - one case for each command
        match command:
            case Increment(key, durable):
                table = self.lasting if durable else self.passing
                table.put(key, (table.get(key) or 0) + 1)
                return table.get(key)
            case Get(key, durable):
                return (self.lasting if durable else self.passing).get(key) or 0
            case Take():
                self.held.put(context.session, (self.held.get(context.session) or 0) + 1)
                return sum(self.held.values())
            case GiveBack():
                self.held.put(context.session, (self.held.get(context.session) or 0) - 1)
                return None
            case Held():
                return sum(self.held.values())
            case Queue():
                place = self.passing.get("place") or 0
                self.passing.put("place", place + 1)
                self.line.put(context.call, place)
                return LATER
            case Serve():
                return self._serve(context)
            case Nested(value):
                return value
            case Repeat(times):
                return "x" * times
            case Fail(how):
                return self._fail(how)

    def _serve(self, context: Context) -> int | None:
        if not self.line:
            return None
        first = min(self.line, key=lambda call: self.line.get(call) or 0)
        self.line.delete(first)
        served = self.passing.get("served") or 0
        self.passing.put("served", served + 1)
        context.answer(first, served)
        return len(self.line)

    def cancelled(self, call: CallId, context: Context) -> None:  # noqa: ARG002 - the contract's
        self.line.delete(call)

    def _fail(self, how: str) -> Any:
        self.passing.put("broken", 1)
        self.lasting.put("broken", 1)
        match how:
            case "fault":
                raise ZeroDivisionError
            case "result":
                return object()
            case "huge":
                return "x" * (17 * 1024 * 1024)
            case "row":
                self.passing.put("broken", 2**70)
                return None
            case "details":
                raise Refused(object())
            case _:
                raise Refused(how)

    def session_ended(self, context: Context, exit: Exit | None) -> None:
        self.exits.append(exit)
        if context.session in self.held:
            self.held.delete(context.session)

    def wanted_after_death(self, command: Any) -> bool:
        return not isinstance(command, Take)

    def tick(self, context: Context) -> None:  # noqa: ARG002 - the contract's
        self.ticks += 1


class MemoryJournal:
    """A stand-in for a file: it keeps rows in memory over the lives of an owner, and fails when told to."""

    def __init__(self) -> None:
        self.rows: dict[tuple[str, Any], Any] = {}
        self.revision = 0
        self.turn: tuple[int, bytes] | None = None
        self.steps: list[StoredStep] = []
        self.fails = False

    def load(self) -> Loaded:
        return Loaded([(name, key, row) for (name, key), row in self.rows.items()], self.revision, self.turn)

    def commit(self, steps: Sequence[Step], turn: int, record: bytes, saved: Sequence[SavedRow] = ()) -> None:
        if self.fails:
            raise StorageUnavailable("the disk is full")
        for change in (change for step in steps for change in step.changes):
            table, key, after = change.table, change.key, change.after
            if after is None:
                self.rows.pop((table.name, key), None)
            else:
                self.rows[table.name, key] = after
        self.save(saved)
        self.steps += [stored_step(step) for step in steps]
        self.revision = steps[-1].revision
        self.turn = (turn, record)

    def save(self, rows: Sequence[SavedRow]) -> None:
        if self.fails:
            raise StorageUnavailable("the disk is full")
        for name, key, record in rows:
            if record is None:
                self.rows.pop((name, key), None)
            else:
                self.rows[name, key] = record

    def holds(self, turn: int) -> bool:
        return self.turn is not None and self.turn[0] == turn

    def history(self, since: int) -> Iterator[StoredStep]:
        oldest = self.steps[0].revision if self.steps else self.revision + 1
        if since + 1 < oldest:
            raise Compacted(since, oldest)
        return (step for step in self.steps if step.revision > since)

    def close(self) -> None:
        pass


def stored_step(step: Step) -> StoredStep:
    """A step as it is read again."""
    changes = tuple(StoredChange(one.table.name, one.key, one.before, one.after) for one in step.changes)
    return StoredStep(step.revision, step.session, step.cause, step.wall_s, changes, step.by)


class MuteJournal(MemoryJournal):
    """A journal that at some time says nothing any more: whether a turn was stored, nobody can tell."""

    mute = False

    def commit(self, steps: Sequence[Step], turn: int, record: bytes, saved: Sequence[SavedRow] = ()) -> None:
        super().commit(steps, turn, record, saved)
        if self.mute:
            raise StorageUnavailable("no word from the disk")

    def holds(self, turn: int) -> bool:
        if self.mute:
            raise StorageUnavailable("no word from the disk")
        return super().holds(turn)


def duplicate(log: SessionLog) -> SessionLog:
    """The log as a next owner gets it: the same memory, another descriptor."""
    return SessionLog(os.dup(log.fileno()))


def build(options: bytes) -> tuple[Actor, Journal]:
    """The actor for a real owner process."""
    del options
    return CounterActor(), NoJournal()
