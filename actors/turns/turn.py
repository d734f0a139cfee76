"""The present turn of the owner: what has been done in it, and what will be answered once that is stored."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from actors import frames
from actors.actor import CallId, Context
from actors.errors import CallError, CommandError, StorageUnavailable
from actors.journal import Step
from actors.tables import Change, Table, revert
from actors.turns.answers import Encoded, encode_answer, encode_failure
from actors.turns.peers import Peer


class ReadOnly(Exception):
    """What was just applied changes something, and nothing may be changed now."""


class Deed(msgspec.Struct, gc=False):
    """One thing that is done in the turn: a command, a batch, a tick, the end of a session.

    Attributes:
        again: Does it once more, if the turn cannot be stored.
        asker: The session that waits for it; 0 if nobody does.
        start: How many changes there were before it.
        revision: The revision before it.
        rows: What it changed in tables that are not durable, encoded for the session log.
        steps: What it changed in durable ones.
        answers: Its answer, and those to commands that have waited for it.
    """

    again: Callable[[], None]
    asker: int
    start: int
    revision: int
    rows: list[msgspec.Raw] = []
    steps: list[Step] = []
    answers: list[Encoded] = []


class Turn:
    """Gathers what is done until it is stored; then the next turn begins in the same object.

    Args:
        tables: All tables that may change.
        waiting: Of these, the one that names the commands whose answers were put off, and their deadlines.

    Attributes:
        peers: The sessions.
        names: The names of their processes; that of session 0 is the owner's own.
        revision: Number of the latest durable change.
        steps: What the journal must store.
        rows: What the session log must store.
        kept: The answers that it must store; see `session_log.Record`.
        joined: The sessions that have begun in it.
        ended: The sessions that have ended in it.
        read_only: Whether whatever changes something is undone at once.
        unstorable: Why durable changes are refused, if they are.
        out_bytes: Length of all answers so far.
        refused: How many commands were refused, by the code of the error.
    """

    def __init__(self, tables: Sequence[Table[Any, Any]], waiting: Table[CallId, float]) -> None:
        self.peers: dict[int, Peer] = {}
        self.names = {0: "owner"}
        self.revision = 0
        self.joined: list[int] = []
        self.ended: list[int] = []
        self.read_only = False
        self.unstorable: StorageUnavailable | None = None
        self.out_bytes = 0
        self.refused: Counter[str] = Counter()
        self._waiting = waiting
        self._changes: list[Change] = []
        for table in tables:
            table.changes = self._changes
        self.steps: list[Step] = []
        self.rows: list[msgspec.Raw] = []
        self.kept: list[tuple[int, int, int, bytes]] = []
        self._deeds: list[Deed] = []
        self._out: list[Encoded] = []

    # -- doing something -------------------------------------------------------------------------------------

    def begin(self, again: Callable[[], None], asker: int = 0) -> Deed:
        """Something is about to be done, which `again` would do once more."""
        return Deed(again, asker, len(self._changes), self.revision)

    def note(self, deed: Deed, context: Context, cause: str) -> None:
        """Note what has changed since the deed's beginning: rows, a step, answers.

        Raises:
            ReadOnly: Nothing may change now.
            StorageUnavailable: It has to be stored in the journal, and cannot be.
            TypeError: It cannot be encoded; this must fail here, not in the journal.
        """
        if context.answers:
            for call, _, _ in context.answers:
                self._waiting.delete(call)
        if len(self._changes) > deed.start:
            self._note_changes(deed, context, cause)
        if context.answers:
            for (session, number), result, error in context.answers:
                revision = self.revision
                frame = encode_failure(number, error, revision) if error else encode_answer(number, result, revision)
                deed.answers.append((session, number, frame))

    def _note_changes(self, deed: Deed, context: Context, cause: str) -> None:
        if self.read_only:
            raise ReadOnly
        rows = []
        durable = []
        for change in self._changes[deed.start :]:
            if change.table.durable:
                durable.append(change)
                frames.encode((change.key, change.after))
            else:
                rows.append((change.table.name, change.key, change.after))
        if rows:
            deed.rows.append(msgspec.Raw(frames.encode(rows)))
        if durable:
            if self.unstorable is not None:
                raise self.unstorable
            self.revision += 1
            by = self.names.get(context.session, "")
            deed.steps.append(Step(self.revision, context.session, cause, context.wall_s, durable, by))

    def finish(self, deed: Deed, call: CallId | None) -> None:
        """It was done. If it has changed anything its answers are kept, to be given whenever they are asked for again.

        Args:
            deed: What was done.
            call: The command that it was, if it was one.
        """
        if deed.rows or deed.steps:
            self._deeds.append(deed)
            self.steps += deed.steps
            self.rows += deed.rows
            for session, number, frame in deed.answers:
                peer = self.peers.get(session)
                if peer is not None:  # else it is done again after its session has ended in the same turn
                    peer.store(number, frame)
                    self.kept.append((session, number, peer.acknowledged.upto, frame))
        elif call is not None:
            self._seen(deed, call)
        for answer in deed.answers:
            self.out_bytes += len(answer[2])
            self._out.append(answer)

    def undo(self, deed: Deed) -> None:
        """It is refused: nothing of it remains."""
        self._revert(deed.start)
        self.revision = deed.revision
        deed.rows.clear()
        deed.steps.clear()
        deed.answers.clear()

    def refuse(self, call: CallId, error: CallError, deed: Deed | None = None) -> None:
        """Answer a command with a refusal, which is kept: what was refused once is not done when it comes again.

        It need not outlive this owner. Whoever was told no has read it before the Welcome of a successor, and what a
        queue still holds before the Hello to that is void.

        Args:
            call: The command.
            error: Why.
            deed: What was tried and undone, if it came so far.
        """
        session, number = call
        self.refused[error.code if isinstance(error, CommandError) else type(error).__name__] += 1
        if deed is not None:
            self._seen(deed, call)
        frame = encode_failure(number, error, self.revision)
        peer = self.peers.get(session)
        if peer is not None and not peer.is_full and number not in peer.acknowledged:
            peer.store(number, frame)
        self.say(session, number, frame)

    def say(self, session: int, number: int, frame: bytes) -> None:
        """Answer a command at the end of the turn."""
        self.out_bytes += len(frame)
        self._out.append((session, number, frame))

    def join(self, session: int) -> None:
        """A session begins; stored, so that its end is told to the actor whatever dies in between."""
        self.peers[session] = Peer()
        self.joined.append(session)

    def end(self, session: int) -> None:
        """A session is over: nobody is there to be answered."""
        self.peers.pop(session, None)
        self._out = [answer for answer in self._out if answer[0] != session]
        self.ended.append(session)

    def _seen(self, deed: Deed, call: CallId) -> None:
        """It changed nothing but saw what this turn has not stored yet: it is done again if that fails."""
        if self._deeds:
            self._deeds.append(deed)
            if not deed.answers:
                deed.answers.append((*call, b""))

    # -- the end of it ---------------------------------------------------------------------------------------

    @property
    def changes(self) -> Sequence[Change]:
        """What it has changed."""
        return self._changes

    @property
    def deeds(self) -> Sequence[Deed]:
        """What was done in it, in order; each has changed what stands before the start of the next."""
        return self._deeds

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to store."""
        return not (self._deeds or self.ended or self.joined)

    def take_back(self) -> list[Deed]:
        """Undo all of it but the ends of sessions; returns what was done."""
        deeds = self._deeds[:]
        undone = {(session, number) for deed in deeds for session, number, _ in deed.answers}
        self._out = [answer for answer in self._out if answer[:2] not in undone]
        for session, number in undone:
            if (peer := self.peers.get(session)) is not None:
                peer.drop(number)
        self.revision -= len(self.steps)
        self._revert(0)
        self._forget()
        return deeds

    def stored(self) -> None:
        """All of it is stored, or given up: the next turn begins."""
        self._changes.clear()
        self._forget()
        self.joined.clear()
        for session in self.ended:
            self.names.pop(session, None)
        self.ended.clear()

    def _forget(self) -> None:
        self._deeds.clear()
        self.steps.clear()
        self.rows.clear()
        self.kept.clear()

    def outgoing(self) -> dict[int, list[bytes]]:
        """The answers that may now leave, by session; they are gone from here."""
        out = self._out
        self._out = []
        if len(out) == 1:
            ((session, _, frame),) = out
            return {session: [frame]}
        by_session: dict[int, list[bytes]] = {}
        for session, _, frame in out:
            by_session.setdefault(session, []).append(frame)
        return by_session

    def _revert(self, start: int) -> None:
        revert(self._changes[start:])
        del self._changes[start:]
