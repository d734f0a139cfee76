"""What the owner does with commands, without its sockets: apply each exactly once, store, and only then answer."""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable, Iterable
from typing import Any

import msgspec

from actors import frames
from actors.actor import LATER, Actor, CallId, Context
from actors.clock import Clock
from actors.errors import (
    UNDECODABLE,
    CallError,
    CallTimeout,
    CommandCrashedOwner,
    CommandError,
    CommandFailed,
    CommandInvalid,
    CommandStale,
    Overloaded,
    StorageUnavailable,
)
from actors.exits import Exit
from actors.frames import Ask, Batch, Outcome
from actors.journal import Journal
from actors.pulse import Pulse
from actors.ranges import Range
from actors.session_log import Record, SessionLog
from actors.tables import Table
from actors.turns.answers import MAX_ANSWER_BYTES, MAX_REFUSAL_BYTES, encode_answer, failure_of
from actors.turns.invalid import explain
from actors.turns.ledger import InDoubt, Ledger
from actors.turns.observers import Observers
from actors.turns.peers import Peer
from actors.turns.saving import Saving
from actors.turns.turn import Deed, ReadOnly, Turn

logger = logging.getLogger(__name__)

MAX_BATCH = 1_000
"""Most commands in a batch: nothing else is done meanwhile."""

_NIL = msgspec.Raw(frames.encode(None))


class _Room:
    """How long the results of a batch may still be: they travel as one answer."""

    def __init__(self) -> None:
        self._left = MAX_ANSWER_BYTES - MAX_BATCH * MAX_REFUSAL_BYTES

    def take(self, size: int) -> None:
        """Raise `CommandFailed` if there is no room for a result of this length."""
        if size > self._left:
            raise CommandFailed(f"its answer has {size:,} bytes, for which the answer to the batch has no room")
        self._left -= size


class Engine:
    """Runs an actor, turn by turn.

    Args:
        actor: The state and its commands.
        journal: Where durable changes are stored.
        log: Where everything else is that a next owner must know.
        clock: The time that commands see.
        epoch: Number of this life.
        handover: Makes a fresh log known to the supervisor.
        pulse: Where the command that is being applied is marked.

    Attributes:
        turn: What was done and is not stored yet.
        ledger: Where it is stored.
        observers: Who wants to hear of what was stored.
        commands: How many commands were applied.
        repeated: How many were answered from memory.
        wants_successor: The end of a doubt, see `in_doubt`: what stands in the journal stands; a next owner loads
            it, and is asked again whatever was left unanswered.
    """

    def __init__(  # noqa: PLR0917 - what an engine is made of
        self,
        actor: Actor,
        journal: Journal,
        log: SessionLog,
        clock: Clock,
        epoch: int,
        handover: Callable[[SessionLog], None] = lambda _: None,
        pulse: Pulse | None = None,
    ) -> None:
        self.actor = actor
        self.epoch = epoch
        self._waiting: Table[CallId, float] = Table("_waiting", tuple[int, int], float, durable=False)
        self._tables = {table.name: table for table in (*actor.tables, self._waiting)}
        self.turn = Turn(list(self._tables.values()), self._waiting)
        self.ledger = Ledger(journal, log, handover)
        self.observers = Observers(journal, actor.views, clock)
        self._saving = Saving([table for table in self._tables.values() if table.saved], journal)
        self.commands = self.repeated = 0
        self.wants_successor = False
        self._clock = clock
        self._mark: Callable[[int, int], None] = pulse.mark if pulse is not None else lambda _, __: None
        self._decode = msgspec.msgpack.Decoder(actor.commands).decode
        self._peers = self.turn.peers
        actor.name_of = lambda session: self.turn.names.get(session, "")
        self._crashed: set[CallId] = set()
        self._postponed: list[tuple[int, Exit | None]] = []

    @property
    def in_doubt(self) -> bool:
        """Whether nobody can tell if the latest turn was stored.

        Reads go on from the state before it; what would change something is left unanswered.
        """
        return self.turn.read_only

    # -- the beginning of a life -----------------------------------------------------------------------------

    def recover(self) -> set[int]:
        """Rebuild the state from the journal and the session log; returns the sessions that the log knows."""
        self.turn.revision, records = self.ledger.load(self._load, self._saving.rows)
        for record in records:
            self._replay(record)
        self._saving.begin()
        return set(self._peers)

    def _replay(self, record: Record) -> None:
        for rows in record.changes:
            for name, key, row in rows:
                self._restore(name, key, row)
        for session, acknowledged in record.sessions:
            self._peers[session] = Peer(acknowledged)
        for session, number, upto, frame in record.answers:
            peer = self._peers.setdefault(session, Peer())
            peer.store(number, frame)
            peer.acknowledge(upto)
        for session in record.ended:
            self._peers.pop(session, None)

    def _load(self, name: str, key: Any, record: Any) -> None:
        if not self._saving.found(name, key, record):
            self._restore(name, key, record)

    def _restore(self, name: str, key: Any, record: Any) -> None:
        table = self._tables[name]
        table.restore(table.decode_key(key), None if record is None else table.decode_record(record))

    def crashed(self, calls: Iterable[CallId]) -> None:
        """These commands must not be applied again: an owner died of each."""
        self._crashed.update(calls)

    # -- what is heard from sessions -------------------------------------------------------------------------

    def join(self, session: int, name: str = "") -> None:
        """A session begins, or goes on in this life.

        Args:
            session: Its number.
            name: The name of its process.
        """
        self.turn.names[session] = name
        if session not in self._peers:
            self.turn.join(session)

    def acknowledge(self, session: int, answered: list[Range]) -> None:
        """A session says which answers it has."""
        self._peers[session].acknowledge_ranges(answered)

    def ask(self, session: int, ask: Ask | Batch, *, posthumous: bool = False) -> None:
        """Do a command or a batch, unless it was done before: then its answer is given once more.

        Args:
            session: Who asks.
            ask: The command.
            posthumous: The sender is dead: do it only if it still counts.
        """
        peer = self._peers[session]
        number = ask.number
        known = peer.answers.get(number)
        if known is not None:
            self.repeated += 1
            self.turn.say(session, number, known)
            return
        call = (session, number)
        acknowledged = peer.acknowledged
        if number <= acknowledged.upto or (acknowledged.above and number in acknowledged):
            self.turn.refuse(call, CommandStale(number))
            return
        if ask.answered > acknowledged.upto:
            peer.acknowledge(min(ask.answered, number - 1))
        if self._waiting.get(call) is not None:
            return  # it is sent again; its answer is still to come
        try:
            if ask.deadline < self._clock.monotonic() or peer.is_full or call in self._crashed:
                raise self._why_not(call, ask.deadline)
            if isinstance(ask, Batch):
                self._batch(call, self._commands(ask, posthumous=posthumous), ask.deadline, atomic=ask.atomic)
                return
            command = self._command_of(ask.command)
        except CallError as error:
            self.turn.refuse(call, error)
            return
        if not posthumous or self.actor.wanted_after_death(command):
            self._command(call, command, ask.deadline)

    def cancel(self, session: int, number: int) -> None:
        """Nobody waits for a command any more: if its answer was put off, it is taken out of the line."""
        self.observers.cancel((session, number))
        if (session, number) in self._waiting:
            self._give_up((session, number), "the caller does not wait any more; nothing was changed")

    def end(self, session: int, exit: Exit | None = None) -> None:
        """A session is over: forget its answers and take back what it held.

        Args:
            session: Its number.
            exit: How its process ended, if that is known.
        """
        self.turn.end(session)
        self.observers.end(session)
        self._crashed = {call for call in self._crashed if call[0] != session}

        def event(context: Context) -> None:
            for call in [call for call in self._waiting if call[0] == session]:
                self._waiting.delete(call)
                self.actor.cancelled(call, context)
            self.actor.session_ended(context, exit)

        def unstorable() -> None:
            # The session is not over before its end is stored.
            self.turn.ended.remove(session)
            self._postponed.append((session, exit))

        self._happen(session, "session_ended", event, unstorable)

    def tick(self) -> None:
        """Let the actor do what has become due, after what could not be stored before."""
        self.observers.tick()
        if self.in_doubt:
            self._look_again()
            return
        postponed, self._postponed = self._postponed, []
        for session, exit in postponed:
            self.end(session, exit)
        now = self._clock.monotonic()
        for call in [call for call, deadline_s in self._waiting.items() if deadline_s < now]:
            self._give_up(call, "it waited in vain until its deadline; nothing was changed")
        self._happen(0, "tick", self.actor.tick)
        self._do_what_is_due()
        self._saving.tick(now)

    def _do_what_is_due(self) -> None:
        try:
            for event in self.actor.due(self._context((0, 0), 0.0)):
                self._happen(0, "tick", event)
        except Exception:  # as of an event itself: nobody asked for this, and the owner must go on for all the others
            logger.exception("the actor failed to say what is due")

    def reply(self, session: int, number: int, result: Any) -> None:
        """Answer a question about the owner itself, which is no command."""
        self.turn.say(session, number, encode_answer(number, result, self.turn.revision))

    @property
    def waiting(self) -> int:
        """How many commands wait for their answers."""
        return len(self._waiting)

    def _why_not(self, call: CallId, deadline: float) -> CallError:
        """The error of a command that is refused whatever it is."""
        if call in self._crashed:
            return CommandCrashedOwner(call[1])
        if deadline < self._clock.monotonic():
            return CallTimeout("the deadline had passed when the owner read the command; nothing was changed")
        return Overloaded("too many answers to this session are not acknowledged")

    # -- commands --------------------------------------------------------------------------------------------

    def _command_of(self, raw: msgspec.Raw) -> Any:
        try:
            return self._decode(raw)
        except UNDECODABLE as error:
            raise explain(error) from error

    def _commands(self, batch: Batch, *, posthumous: bool) -> list[Any]:
        """The commands of a batch; in place of one that is not understood stands the error."""
        if len(batch.commands) > MAX_BATCH:
            raise CommandInvalid("", f"a batch has at most {MAX_BATCH:,} commands, not {len(batch.commands):,}")
        commands: list[Any] = []
        for raw in batch.commands:
            try:
                command = self._command_of(raw)
            except CommandInvalid as error:
                command = error
            if not posthumous or self.actor.wanted_after_death(command):
                commands.append(command)
            elif batch.atomic:
                return []  # all or nothing
        return commands

    def _command(self, call: CallId, command: Any, deadline: float) -> None:
        turn = self.turn
        context = self._context(call, deadline)
        deed = turn.begin(functools.partial(self._command, call, command, deadline), call[0])
        self._mark(*call)
        self.commands += 1
        try:
            result = self.actor.apply(command, context)
            if result is LATER:
                self._waiting.put(call, deadline)
            turn.note(deed, context, type(command).__name__)
            if result is not LATER:
                deed.answers.append((*call, encode_answer(call[1], result, turn.revision)))
        except Exception as error:  # noqa: BLE001 - a fault of the actor must cost its caller an error, others nothing
            turn.undo(deed)
            self._refuse(call, deed, _refusal(error, command))
        else:
            turn.finish(deed, call)

    def _batch(self, call: CallId, commands: list[Any], deadline: float, *, atomic: bool) -> None:
        turn = self.turn
        deed = turn.begin(functools.partial(self._batch, call, commands, deadline, atomic=atomic), call[0])
        self._mark(*call)
        self.commands += len(commands)
        try:
            if atomic:
                outcomes = self._all_or_nothing(deed, commands, self._context(call, deadline))
            else:
                room = _Room()
                context = self._context(call, deadline)
                outcomes = []
                for command in commands:
                    # Most commands leave it as it was, so that the next one can have it too.
                    if context.answers or context.revision != turn.revision:
                        context = self._context(call, deadline)
                    outcomes.append(self._part(deed, command, context, room))
            deed.answers.append((*call, encode_answer(call[1], outcomes, turn.revision)))
        except Exception as error:  # noqa: BLE001 - as of a single command
            turn.undo(deed)
            self._refuse(call, deed, _refusal(error, None))
        else:
            turn.finish(deed, call)

    def _all_or_nothing(self, deed: Deed, commands: list[Any], context: Context) -> list[Outcome]:
        """The outcomes of an atomic batch, which takes one revision."""
        outcomes = []
        room = _Room()
        for index, command in enumerate(commands):
            try:
                outcomes.append(self._at_once(command, context, room))
            except Exception as error:
                refusal = _refusal(error, command)
                if isinstance(refusal, CommandError):
                    refusal.index = index
                raise refusal from error
        self.turn.note(deed, context, "Batch")
        return outcomes

    def _part(self, batch: Deed, command: Any, context: Context, room: _Room) -> Outcome:
        """The outcome of one command of a batch in which each stands for itself."""
        part = self.turn.begin(batch.again)
        try:
            outcome = self._at_once(command, context, room)
            self.turn.note(part, context, type(command).__name__)
        except Exception as error:
            self.turn.undo(part)
            refusal = _refusal(error, command)
            if not isinstance(refusal, CommandError):
                raise
            self.turn.refused[refusal.code] += 1
            return Outcome(_NIL, failure_of(refusal, MAX_REFUSAL_BYTES))
        batch.rows += part.rows
        batch.steps += part.steps
        batch.answers += part.answers
        return outcome

    def _at_once(self, command: Any, context: Context, room: _Room) -> Outcome:
        if isinstance(command, CommandInvalid):
            raise command
        result = self.actor.apply(command, context)
        if result is LATER:
            raise CommandInvalid("", "a command that would have to wait cannot be part of a batch")
        encoded = frames.encode(result)
        room.take(len(encoded))
        return Outcome(msgspec.Raw(encoded), None)

    def _refuse(self, call: CallId, deed: Deed, error: CallError | ReadOnly) -> None:
        if not isinstance(error, ReadOnly):  # then a successor answers
            self.turn.refuse(call, error, deed)

    def _context(self, call: CallId, deadline: float) -> Context:
        clock = self._clock
        return Context(*call, deadline, clock.monotonic(), clock.wall(), self.epoch, self.turn.revision)

    # -- events ----------------------------------------------------------------------------------------------

    def _happen(
        self,
        session: int,
        cause: str,
        event: Callable[[Context], None],
        unstorable: Callable[[], None] = lambda: None,
    ) -> None:
        """Let something happen that nobody asked for.

        Args:
            session: Whom it is about; 0 for nobody.
            cause: Its name.
            event: Does it.
            unstorable: Called instead if it changes what cannot be stored now.
        """
        turn = self.turn
        context = self._context((session, 0), 0.0)
        deed = turn.begin(functools.partial(self._happen, session, cause, event, unstorable))
        self._mark(0, 0)
        try:
            event(context)
            turn.note(deed, context, cause)
        except ReadOnly:
            turn.undo(deed)
        except StorageUnavailable:
            turn.undo(deed)
            unstorable()
        except Exception:
            # Nobody asked for this, so there is nobody to tell; the owner must go on for all the others.
            logger.exception("the actor failed on %s", cause)
            turn.undo(deed)
        else:
            turn.finish(deed, None)

    def _give_up(self, call: CallId, reason: str) -> None:
        def event(context: Context) -> None:
            self.actor.cancelled(call, context)
            context.refuse(call, CallTimeout(reason))

        self._happen(call[0], "cancelled", event)

    # -- the end of a turn -----------------------------------------------------------------------------------

    def commit(self) -> dict[int, list[bytes]]:
        """Store what has changed; returns the encoded Answer frames that may now leave, by session."""
        if not self.turn.is_empty:
            self._store()
        self._mark(0, 0)
        out = self.turn.outgoing()
        if self.observers.active:
            self.observers.speak(out, self.turn.revision)
        return out

    def _store(self) -> None:
        turn, ledger = self.turn, self.ledger
        if not turn.read_only:
            # What was answered together with a durable change, such as a heartbeat that made a service healthy again,
            # must not be missing beside it.
            saved = self._saving.among(turn.changes) if turn.steps else []
            try:
                ledger.store(turn.steps, ledger.record(turn.kept, turn.rows, turn.ended, turn.joined), saved)
            except StorageUnavailable as error:
                logger.warning("%s", error)
                self._retreat(error)
                ledger.keep(ledger.record(turn.kept, turn.rows, turn.ended, turn.joined))
            except InDoubt as doubt:
                logger.warning(
                    "nobody can tell whether the latest changes are stored: %s; till then none is made", doubt
                )
                turn.take_back()
                turn.read_only = True
            else:
                self._saving.stored(saved)
                if turn.steps and any(change.after is None for step in turn.steps for change in step.changes):
                    self._saving.save()  # what was counted of it must not outlive it
        if self.observers.active:
            self.observers.stored(turn)
        turn.stored()
        if ledger.wants_compaction:
            self._compact()

    def _retreat(self, error: StorageUnavailable) -> None:
        """The turn could not be stored: undo all of it, refuse what must be stored, do the rest again."""
        deeds = self.turn.take_back()
        self.turn.unstorable = error
        for deed in deeds:
            if not deed.asker or deed.asker in self._peers:
                deed.again()
        self.turn.unstorable = None

    def _look_again(self) -> None:
        try:
            stands = self.ledger.look()
        except StorageUnavailable:
            return
        logger.warning("the journal can be read again; the latest changes are %s", "in it" if stands else "not in it")
        self.wants_successor = True

    def close(self) -> None:
        """Save what is saved now and then, and close the journal."""
        if not self.in_doubt:
            self._saving.save()
        self.ledger.close()

    def _compact(self) -> None:
        answers = [
            (session, number, peer.acknowledged.upto, frame)
            for session, peer in self._peers.items()
            for number, frame in peer.answers.items()
        ]
        sessions = [(session, peer.acknowledged.ranges()) for session, peer in self._peers.items()]
        sessions += [(session, []) for session, _ in self._postponed]
        rows = [
            (table.name, key, record)
            for table in self._tables.values()
            if not table.durable
            for key, record in table.items()
        ]
        self.ledger.compact(answers, rows, sessions)


def _refusal(error: Exception, command: Any) -> CallError | ReadOnly:
    """What a caller is told of an error that its command raised."""
    if isinstance(error, CallError | ReadOnly):
        return error
    logger.error("the actor failed on %s", type(command).__name__, exc_info=error)
    return CommandFailed(f"{type(error).__name__}: {error}")
