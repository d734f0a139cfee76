"""One turn of the owner, without its sockets: apply each command exactly once, store, and only then answer."""

from __future__ import annotations

import bisect
import functools
import logging
from collections.abc import Callable
from typing import Any

import msgspec

from actors import frames
from actors.actor import Actor, Context
from actors.channel import DEFAULT_LIMIT
from actors.clock import Clock
from actors.errors import (
    UNDECODABLE,
    CallError,
    CallTimeout,
    CommandCrashedOwner,
    CommandError,
    CommandFailed,
    CommandStale,
    Overloaded,
    StorageUnavailable,
)
from actors.exits import Exit
from actors.frames import Ask, Failure, Range
from actors.invalid import explain
from actors.journal import Journal, Step
from actors.pulse import Pulse
from actors.session_log import Record, SessionLog, decode_record, encode_record
from actors.tables import Change, revert

logger = logging.getLogger(__name__)

COMPACT_BYTES = 8 * 1024 * 1024
"""A session log longer than this, and than twice its last snapshot, is replaced by a snapshot."""

MAX_ANSWER_BYTES = DEFAULT_LIMIT - 64
"""A longer answer is refused instead of sent."""

MAX_STORED_BYTES = 32 * 1024 * 1024
"""Answers that a session has not acknowledged may take this much memory; then it is refused until it does."""

_ANSWER_OVERHEAD_BYTES = 200
"""Memory that a stored answer takes besides its bytes."""

_MAX_MESSAGE = 1_000
"""Longest text of an error whose details are too long to be sent, in characters."""


class _Answer(msgspec.Struct, frozen=True, array_like=True, tag="answer"):
    """`frames.Answer` as it is encoded: the result in one go."""

    number: int
    result: Any
    failure: Failure | None
    revision: int


class _Turn(msgspec.Struct, frozen=True, array_like=True):
    """`session_log.Record` as it is encoded: the changes are so already."""

    turn: int
    answers: list[tuple[int, int, int, bytes]]
    changes: list[msgspec.Raw]
    ended: list[int]


class _Peer:
    """What is remembered of a session: the answers it has not acknowledged, by number."""

    __slots__ = ("answered", "answers", "stored_bytes")

    def __init__(self, answered: int = 0) -> None:
        self.answered = answered
        self.answers: dict[int, bytes] = {}
        self.stored_bytes = 0

    def store(self, number: int, answer: bytes) -> None:
        """Keep an answer until it is acknowledged."""
        self.answers[number] = answer
        self.stored_bytes += len(answer) + _ANSWER_OVERHEAD_BYTES

    def drop(self, number: int) -> None:
        """Forget an answer, if there is one."""
        answer = self.answers.pop(number, None)
        if answer is not None:
            self.stored_bytes -= len(answer) + _ANSWER_OVERHEAD_BYTES

    def acknowledge(self, number: int) -> None:
        """All answers up to this number have arrived."""
        if number > self.answered:
            self.answered = number
            answers = self.answers
            while answers and (first := next(iter(answers))) <= number:
                self.drop(first)

    def acknowledge_ranges(self, ranges: list[Range]) -> None:
        """The answers in these ranges, which ascend, have arrived."""
        if ranges and ranges[0][0] <= self.answered + 1:
            self.acknowledge(ranges[0][1])
        firsts = [first for first, _ in ranges]
        for number in list(self.answers):
            at = bisect.bisect_right(firsts, number) - 1
            if at >= 0 and number <= ranges[at][1]:
                self.drop(number)


class _Entry(msgspec.Struct, frozen=True, gc=False):
    """One thing that was done in the turn: a command, a tick, or the end of a session (with nothing to answer).

    Attributes:
        session: Whose it was; 0 for a tick.
        number: The command's number; 0 if it was none.
        done: The command, or the event: what is to be done again if the turn cannot be stored.
        cause: Its name.
        rows: What it changed in tables that are not durable, encoded for the session log.
        step: What it changed in durable ones.
    """

    session: int
    number: int
    done: Any
    cause: str
    rows: msgspec.Raw | None
    step: Step | None

    @property
    def durable(self) -> bool:
        """Whether it takes a revision."""
        return self.step is not None


Outgoing = tuple[int, int, bytes]
"""Session, number of the command, and the encoded Answer frame."""


class Engine:
    """Runs an actor, turn by turn.

    Args:
        actor: The state and its commands.
        journal: Where durable changes are stored.
        log: Where everything else is that a next owner must know.
        clock: The time that commands see.
        epoch: Number of this life; 1 means that the whole system starts anew.
        handover: Makes a fresh log known to the supervisor.
        pulse: Where the supervisor sees which command is being applied.
    """

    def __init__(  # noqa: PLR0917 - what an engine is made of
        self,
        actor: Actor,
        journal: Journal,
        log: SessionLog,
        clock: Clock,
        epoch: int,
        handover: Callable[[SessionLog], None] = lambda _: None,
        *,
        pulse: Pulse | None = None,
    ) -> None:
        self._pulse = pulse
        self.crashed: set[tuple[int, int]] = set()
        self.actor = actor
        self.epoch = epoch
        self.revision = 0
        self.turn = 0
        self._journal = journal
        self._log = log
        self._clock = clock
        self._handover = handover
        self._compact_at = COMPACT_BYTES
        self._tables = {table.name: table for table in actor.tables}
        self._decode = msgspec.msgpack.Decoder(actor.commands).decode
        self._peers: dict[int, _Peer] = {}
        self._changes: list[Change] = []
        for table in actor.tables:
            table.changes = self._changes
        self._entries: list[_Entry] = []
        self._kept: list[tuple[int, int, int, bytes]] = []
        self._ended: list[int] = []
        self._out: list[Outgoing] = []
        self._unstorable: StorageUnavailable | None = None
        self._postponed: list[int] = []

    # -- the beginning of a life -----------------------------------------------------------------------------

    def recover(self) -> set[int]:
        """Rebuild the state from the journal and the session log; returns the sessions that the log knows."""
        loaded = self._journal.load()
        for name, key, record in loaded.rows:
            self._restore(name, key, record)
        self.revision = loaded.revision
        records = 0
        for record in self._log.records():
            self._replay(record)
            records += 1
        if not records:
            # Nothing is left of a former life but the journal. Its turns are counted on, so that the number of the
            # one it ends with never comes again; and this record tells a successor that it is one.
            self.turn = 0 if loaded.turn is None else loaded.turn[0]
            self._log.append(encode_record(Record(self.turn, [], [], [])))
        elif loaded.turn is not None and loaded.turn[0] == self.turn + 1:
            # The former owner died between its transaction and its log: the transaction carries the record.
            self._log.append(loaded.turn[1])
            self._replay(decode_record(loaded.turn[1]))
        return set(self._peers)

    def _replay(self, record: Record) -> None:
        self.turn = record.turn
        for rows in record.changes:
            for name, key, row in rows:
                self._restore(name, key, row)
        for session, acknowledged in record.sessions:
            self._peers[session] = _Peer(acknowledged)
        for session, number, acknowledged, frame in record.answers:
            peer = self._peers.setdefault(session, _Peer())
            peer.store(number, frame)
            peer.acknowledge(acknowledged)
        for session in record.ended:
            self._peers.pop(session, None)

    def _restore(self, name: str, key: Any, record: Any) -> None:
        table = self._tables[name]
        table.restore(table.decode_key(key), None if record is None else table.decode_record(record))

    # -- what happens in a turn ------------------------------------------------------------------------------

    def join(self, session: int) -> None:
        """A session begins, or goes on in this life."""
        self._peers.setdefault(session, _Peer())

    def acknowledge(self, session: int, answered: list[Range]) -> None:
        """A session says which answers it has."""
        self._peers[session].acknowledge_ranges(answered)

    def ask(self, session: int, ask: Ask, *, posthumous: bool = False) -> None:
        """Do a command, unless it was done before: then its answer is given once more.

        Args:
            session: Who asks.
            ask: The command.
            posthumous: The sender is dead: do it only if it still counts.
        """
        peer = self._peers[session]
        number = ask.number
        known = peer.answers.get(number)
        if known is not None:
            self._out.append((session, number, known))
            return
        if number <= peer.answered:
            self._refuse(session, number, CommandStale(number))
            return
        if ask.answered > peer.answered:
            peer.acknowledge(min(ask.answered, number - 1))
        try:
            command = self._decode(ask.command)
        except UNDECODABLE as error:
            self._refuse(session, number, explain(error))
            return
        context = self._context(session)
        if (session, number) in self.crashed:
            self._refuse(session, number, CommandCrashedOwner(number))
        elif ask.deadline < context.monotonic_s:
            late = CallTimeout("the deadline had passed when the owner read the command; nothing was changed")
            self._refuse(session, number, late)
        elif peer.stored_bytes > MAX_STORED_BYTES:
            self._refuse(session, number, Overloaded("too many answers to this session are not acknowledged"))
        elif not posthumous or self.actor.wanted_after_death(command):
            self._command(number, command, context)

    def end(self, session: int, exit: Exit | None = None) -> None:
        """A session is over: forget its answers and take back what it held.

        Args:
            session: Its number.
            exit: How its process ended, if that is known.
        """
        self._peers.pop(session, None)
        self._out = [answer for answer in self._out if answer[0] != session]
        self._ended.append(session)
        self._happen(session, functools.partial(self.actor.session_ended, exit=exit), "session_ended")

    def tick(self) -> None:
        """Let the actor do what has become due, after what could not be stored before."""
        postponed, self._postponed = self._postponed, []
        for session in postponed:
            self.end(session)
        self._happen(0, self.actor.tick, "tick")

    def _command(self, number: int, command: Any, context: Context) -> None:
        session = context.session
        if self._pulse is not None:
            self._pulse.mark(session, number)
        start = len(self._changes)
        try:
            result = self.actor.apply(command, context)
            entry = self._entry(session, number, command, start, type(command).__name__)
            revision = self.revision + entry.durable
            frame = _within_limit(frames.encode(_Answer(number, result, None, revision)))
        except CommandError as error:
            self._undo(start)
            self._seen(session, number, command)
            self._refuse(session, number, error)
            return
        except Exception as error:
            # A fault of the actor must cost its caller an error and nobody else anything.
            logger.exception("the actor failed on %s", type(command).__name__)
            self._undo(start)
            self._refuse(session, number, CommandFailed(f"{type(error).__name__}: {error}"))
            return
        if len(self._changes) == start:
            self._seen(session, number, command)
        else:
            self.revision = revision
            self._entries.append(entry)
            peer = self._peers[session]
            peer.store(number, frame)
            self._kept.append((session, number, peer.answered, frame))
        self._out.append((session, number, frame))

    def _happen(self, session: int, event: Callable[[Context], None], cause: str) -> None:
        start = len(self._changes)
        try:
            event(self._context(session))
            entry = self._entry(session, 0, event, start, cause)
        except StorageUnavailable:
            self._undo(start)
            self._postpone(session)
            return
        except Exception:
            # Nobody asked for this, so there is nobody to tell; the owner must go on for all the others.
            logger.exception("the actor failed on %s", cause)
            self._undo(start)
            return
        if len(self._changes) > start:
            self.revision += entry.durable
            self._entries.append(entry)

    def _entry(self, session: int, number: int, done: Any, start: int, cause: str) -> _Entry:
        rows = []
        durable = []
        for change in self._changes[start:]:
            if change.table.durable:
                durable.append(change)
                frames.encode((change.key, change.after))  # what cannot be encoded must fail here, not in the journal
            else:
                rows.append((change.table.name, change.key, change.after))
        if durable and self._unstorable is not None:
            raise self._unstorable
        step = Step(self.revision + 1, session, cause, self._clock.wall(), durable) if durable else None
        return _Entry(session, number, done, cause, msgspec.Raw(frames.encode(rows)) if rows else None, step)

    def _seen(self, session: int, number: int, command: Any) -> None:
        """A command changed nothing but saw what this turn has not stored yet: it is done again if that fails."""
        if self._entries:
            self._entries.append(_Entry(session, number, command, "", None, None))

    def _postpone(self, session: int) -> None:
        """The end of a session could not be stored: the session is not over before it is."""
        if session in self._ended:
            self._ended.remove(session)
            self._postponed.append(session)

    def _context(self, session: int) -> Context:
        return Context(session, self._clock.monotonic(), self._clock.wall(), self.epoch, self.revision)

    def _undo(self, start: int) -> None:
        revert(self._changes[start:])
        del self._changes[start:]

    def _refuse(self, session: int, number: int, error: CallError) -> None:
        code, details = (error.code, error.details) if isinstance(error, CommandError) else (type(error).__name__, {})
        try:
            failure = Failure(code, str(error), details)
            frame = _within_limit(frames.encode(_Answer(number, None, failure, self.revision)))
        except (CommandFailed, TypeError, ValueError, OverflowError, RecursionError):
            # An error can quote what it refuses, and that may be as long as a message, or of a foreign type.
            text = str(error)[:_MAX_MESSAGE].encode(errors="replace").decode()
            failure = Failure(CommandError.code, text, {"code": code})
            frame = frames.encode(_Answer(number, None, failure, self.revision))
        self._out.append((session, number, frame))

    # -- the end of a turn -----------------------------------------------------------------------------------

    def commit(self) -> dict[int, list[bytes]]:
        """Store what has changed; returns the encoded Answer frames that may now leave, by session."""
        if self._entries or self._ended:
            self._store()
        if self._pulse is not None:
            self._pulse.clear()
        out = self._out
        self._out = []
        if len(out) == 1:
            ((session, _, frame),) = out
            return {session: [frame]}
        by_session: dict[int, list[bytes]] = {}
        for session, _, frame in out:
            by_session.setdefault(session, []).append(frame)
        return by_session

    def _store(self) -> None:
        record = self._record()
        if any(entry.step is not None for entry in self._entries):
            steps = [entry.step for entry in self._entries if entry.step is not None]
            try:
                self._journal.commit(steps, self.turn + 1, record)
            except StorageUnavailable as error:
                self._retreat(error)
                record = self._record()
        self.turn += 1
        self._log.append(record)
        self._changes.clear()
        self._entries.clear()
        self._kept.clear()
        self._ended.clear()
        if self._log.size > self._compact_at:
            self._compact()

    def _record(self) -> bytes:
        changes = [entry.rows for entry in self._entries if entry.rows is not None]
        return encode_record(_Turn(self.turn + 1, self._kept, changes, self._ended))

    def _retreat(self, error: StorageUnavailable) -> None:
        """The turn could not be stored: undo all of it, refuse what must be stored, do the rest again."""
        logger.error("%s", error)
        entries = self._entries[:]
        self._undo(0)
        self._entries.clear()
        self._kept.clear()
        undone = {(entry.session, entry.number) for entry in entries}
        self._out = [answer for answer in self._out if answer[:2] not in undone]
        for entry in entries:
            if (peer := self._peers.get(entry.session)) is not None:
                peer.drop(entry.number)
            self.revision -= entry.durable
        self._unstorable = error
        for entry in entries:
            if not entry.number:
                self._happen(entry.session, entry.done, entry.cause)
            elif entry.session in self._peers:
                self._command(entry.number, entry.done, self._context(entry.session))
        self._unstorable = None

    def _compact(self) -> None:
        fresh = SessionLog.create()
        answers = [
            (session, number, peer.answered, frame)
            for session, peer in self._peers.items()
            for number, frame in peer.answers.items()
        ]
        sessions = [(session, peer.answered) for session, peer in self._peers.items()]
        sessions += [(session, 0) for session in self._postponed]
        rows = [
            (table.name, key, record)
            for table in self.actor.tables
            if not table.durable
            for key, record in table.items()
        ]
        fresh.append(encode_record(Record(self.turn, answers, [rows], [], sessions)))
        self._handover(fresh)
        self._log.close()
        self._log = fresh
        self._compact_at = max(COMPACT_BYTES, 2 * fresh.size)


def _within_limit(frame: bytes) -> bytes:
    if len(frame) > MAX_ANSWER_BYTES:
        raise CommandFailed(f"its answer has {len(frame):,} bytes, more than a message may have")
    return frame
