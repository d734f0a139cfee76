"""One turn of the owner, without its sockets: apply each command exactly once, store, and only then answer."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import msgspec

from actors import frames
from actors.actor import Actor, Context
from actors.channel import DEFAULT_LIMIT
from actors.clock import Clock
from actors.errors import CallTimeout, CommandError, CommandFailed, CommandInvalid, CommandStale, StorageUnavailable
from actors.frames import Ask, Failure, Range
from actors.invalid import explain
from actors.journal import Journal
from actors.session_log import Record, SessionLog, decode_record, encode_record
from actors.tables import Change, revert

logger = logging.getLogger(__name__)

COMPACT_BYTES = 8 * 1024 * 1024
"""A session log longer than this, and than twice its last snapshot, is replaced by a snapshot."""

MAX_ANSWER_BYTES = DEFAULT_LIMIT - 64
"""A longer answer is refused instead of sent."""


class _Answer(msgspec.Struct, frozen=True, array_like=True, tag="answer"):
    """`frames.Answer` as it is encoded: the result in one go."""

    number: int
    result: Any
    failure: Failure | None
    revision: int


class _Peer:
    """What is remembered of a session: the answers it has not acknowledged, by number."""

    __slots__ = ("answered", "answers")

    def __init__(self) -> None:
        self.answered = 0
        self.answers: dict[int, bytes] = {}

    def acknowledge(self, number: int) -> None:
        """All answers up to this number have arrived."""
        if number > self.answered:
            self.answered = number
            answers = self.answers
            while answers and (first := next(iter(answers))) <= number:
                del answers[first]


class _Entry:
    """One thing that was done in the turn: a command, a tick, or the end of a session (with nothing to answer)."""

    __slots__ = ("again", "changes", "durable", "number", "session")

    def __init__(self, session: int, number: int, changes: list[Change], again: Callable[[], None]) -> None:
        self.session = session
        self.number = number
        self.changes = changes
        self.durable = any(change.table.durable for change in changes)
        self.again = again


class Engine:
    """Runs an actor, turn by turn.

    Args:
        actor: The state and its commands.
        journal: Where durable changes are stored.
        log: Where everything else is that a next owner must know.
        clock: The time that commands see.
        epoch: Number of this life; 1 means that the whole system starts anew.
        handover: Makes a fresh log known to the supervisor.
    """

    def __init__(
        self,
        actor: Actor,
        journal: Journal,
        log: SessionLog,
        clock: Clock,
        epoch: int,
        handover: Callable[[SessionLog], None] = lambda log: None,
    ) -> None:
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
        self._ended: list[int] = []
        self._out: dict[int, dict[int, bytes]] = {}

    # -- the beginning of a life -----------------------------------------------------------------------------

    def recover(self) -> set[int]:
        """Rebuild the state from the journal and the session log; returns the sessions that the log knows."""
        loaded = self._journal.load()
        for name, key, record in loaded.rows:
            self._restore(name, key, record)
        self.revision = loaded.revision
        for record in self._log.records():
            self._replay(record)
        if self.epoch == 1:
            self._journal.forget_turn()
        elif loaded.turn is not None and loaded.turn[0] == self.turn + 1:
            # The former owner died between its transaction and its log: the transaction carries the record.
            self._log.append(loaded.turn[1])
            self._replay(decode_record(loaded.turn[1]))
        return set(self._peers)

    def _replay(self, record: Record) -> None:
        self.turn = record.turn
        for name, key, row in record.changes:
            self._restore(name, key, row)
        for session, number, answered, frame in record.answers:
            peer = self._peers.setdefault(session, _Peer())
            peer.answers[number] = frame
            peer.acknowledge(answered)
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
        peer = self._peers[session]
        for first, last in answered:
            if first <= peer.answered + 1:
                peer.acknowledge(last)
            else:
                for number in [number for number in peer.answers if first <= number <= last]:
                    del peer.answers[number]

    def ask(self, session: int, ask: Ask, *, posthumous: bool = False) -> None:
        """Do a command, unless it was done before: then its answer is given once more.

        Args:
            session: Who asks.
            ask: The command.
            posthumous: The sender is dead: do it only if it still counts.
        """
        peer = self._peers[session]
        number = ask.number
        if number in peer.answers:
            self._say(session, number, peer.answers[number])
            return
        if number <= peer.answered:
            self._refuse(session, number, CommandStale(number))
            return
        peer.acknowledge(min(ask.answered, number - 1))
        try:
            command = self._decode(ask.command)
        except msgspec.DecodeError as error:
            self._refuse(session, number, explain(error))
            return
        if ask.deadline < self._clock.monotonic():
            late = CallTimeout("the deadline had passed when the owner read the command; nothing was changed")
            self._refuse(session, number, late)
            return
        if posthumous and not self.actor.wanted_after_death(command):
            return
        self._command(session, number, command)

    def end(self, session: int) -> None:
        """A session is over: forget its answers and take back what it held."""
        self._peers.pop(session, None)
        self._out.pop(session, None)
        self._ended.append(session)
        self._happen(session, self.actor.session_ended)

    def tick(self) -> None:
        """Let the actor do what has become due."""
        self._happen(0, self.actor.tick)

    def _command(self, session: int, number: int, command: Any) -> None:
        start = len(self._changes)
        context = self._context(session)
        try:
            result = self.actor.apply(command, context)
            changes = self._changes[start:]
            entry = _Entry(session, number, changes, lambda: self._command(session, number, command))
            revision = self.revision + 1 if entry.durable else self.revision
            frame = frames.encode(_Answer(number, result, None, revision))
            if len(frame) > MAX_ANSWER_BYTES:
                raise CommandFailed(f"its answer has {len(frame):,} bytes, more than a message may have")
        except CommandError as error:
            self._undo(start)
            self._refuse(session, number, error)
            return
        except Exception as error:
            # A fault of the actor must cost its caller an error and nobody else anything.
            logger.exception("the actor failed on %s", type(command).__name__)
            self._undo(start)
            self._refuse(session, number, CommandFailed(f"{type(error).__name__}: {error}"))
            return
        if changes:
            self.revision = revision
            self._entries.append(entry)
            self._peers[session].answers[number] = frame
        elif self._entries:
            self._entries.append(entry)  # it saw what this turn has not stored yet: done again if that fails
        self._say(session, number, frame)

    def _happen(self, session: int, event: Callable[[Context], None]) -> None:
        start = len(self._changes)
        event(self._context(session))
        changes = self._changes[start:]
        if changes:
            entry = _Entry(session, 0, changes, lambda: self._happen(session, event))
            if entry.durable:
                self.revision += 1
            self._entries.append(entry)

    def _context(self, session: int) -> Context:
        return Context(session, self._clock.monotonic(), self._clock.wall(), self.epoch, self.revision)

    def _undo(self, start: int) -> None:
        revert(self._changes[start:])
        del self._changes[start:]

    def _refuse(self, session: int, number: int, error: CommandError | CallTimeout) -> None:
        code, details = (error.code, error.details) if isinstance(error, CommandError) else (CallTimeout.__name__, {})
        failure = Failure(code, str(error), details)
        self._say(session, number, frames.encode(_Answer(number, None, failure, self.revision)))

    def _say(self, session: int, number: int, frame: bytes) -> None:
        out = self._out.get(session)
        if out is None:
            out = self._out[session] = {}
        out[number] = frame

    # -- the end of a turn -----------------------------------------------------------------------------------

    def commit(self) -> dict[int, list[bytes]]:
        """Store what has changed; returns the encoded Answer frames that may now leave, by session."""
        if self._entries or self._ended:
            self._store()
        out = {session: list(answers.values()) for session, answers in self._out.items()}
        self._out.clear()
        return out

    def _store(self) -> None:
        durable = [change for change in self._changes if change.table.durable]
        record = self._record()
        if durable:
            try:
                self._journal.commit(durable, self.revision, self.turn + 1, record)
            except StorageUnavailable as error:
                self._retreat(error)
                record = self._record()
        self.turn += 1
        self._log.append(record)
        self._changes.clear()
        self._entries.clear()
        self._ended.clear()
        if self._log.size > self._compact_at:
            self._compact()

    def _record(self) -> bytes:
        peers = self._peers
        answers = [
            (entry.session, entry.number, peer.answered, peer.answers[entry.number])
            for entry in self._entries
            if entry.number and (peer := peers.get(entry.session)) and entry.number in peer.answers
        ]
        changes = [(change[0].name, change[1], change[3]) for change in self._changes if not change[0].durable]
        return encode_record(Record(self.turn + 1, answers, changes, self._ended))

    def _retreat(self, error: StorageUnavailable) -> None:
        """The turn could not be stored: undo all of it, refuse what must be stored, do the rest again."""
        logger.error("%s", error)
        entries = self._entries[:]
        self._undo(0)
        self._entries.clear()
        for entry in entries:
            peer = self._peers.get(entry.session)
            if entry.number and peer is not None:
                peer.answers.pop(entry.number, None)
            self.revision -= entry.durable
        for entry in entries:
            if not entry.durable:
                entry.again()
            elif entry.number and entry.session in self._peers:
                self._refuse(entry.session, entry.number, error)

    def _compact(self) -> None:
        fresh = SessionLog.create()
        answers = [
            (session, number, peer.answered, frame)
            for session, peer in self._peers.items()
            for number, frame in peer.answers.items()
        ]
        rows = [
            (table.name, key, record)
            for table in self.actor.tables
            if not table.durable
            for key, record in table.items()
        ]
        fresh.append(encode_record(Record(self.turn, answers, rows, [])))
        self._handover(fresh)
        self._log.close()
        self._log = fresh
        self._compact_at = max(COMPACT_BYTES, 2 * fresh.size)
