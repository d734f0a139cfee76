"""A small actor whose state is copied, and its owner's loop without time of its own."""

from __future__ import annotations

import os
import select
import socket
from collections.abc import Sequence
from typing import Any

import msgspec

from actors import frames
from actors.actor import Actor, Context
from actors.channel import Channel
from actors.clock import Clock
from actors.errors import CommandError
from actors.exits import Exit
from actors.frames import Acked, Ask, Batch, Cancel, Follow, Hello, Sync, Welcome
from actors.journal import Journal, NoJournal
from actors.session_log import SessionLog
from actors.tables import Table
from actors.turns.broadcast import Broadcast
from actors.turns.engine import Engine
from actors.turns.mail import Mail
from actors.turns.members import Member
from actors.views import View, ViewType

LASTING = ViewType("lasting", str, str, durable=True)
SUMS = ViewType("sums", str, int, durable=False)
BEATS = ViewType("beats", str, int, durable=False, lazy=True)
TYPES = (LASTING, SUMS, BEATS)


class Put(msgspec.Struct, frozen=True, tag=True):
    """Set a text that lasts."""

    key: str
    text: str


class Drop(msgspec.Struct, frozen=True, tag=True):
    """Remove it; refused if it is not there."""

    key: str


class Add(msgspec.Struct, frozen=True, tag=True):
    """Add to a sum, on this session's account; answered with the sum."""

    key: str
    amount: int


class Beat(msgspec.Struct, frozen=True, tag=True):
    """Count a sign of life; answered with their number."""

    key: str


class Hide(msgspec.Struct, frozen=True, tag=True):
    """Change something that lasts and that no view shows."""


class Absent(CommandError):
    """There is no such key."""

    def __init__(self, key: str) -> None:
        super().__init__(f"no {key}", key=key)


class CopiedActor(Actor):
    """Texts that last, and sums of what sessions have added, which do not."""

    commands = Put | Drop | Add | Beat | Hide

    def __init__(self) -> None:
        self.lasting: Table[str, str] = Table("lasting", str, str, durable=True)
        self.hidden: Table[str, int] = Table("hidden", str, int, durable=True)
        self.parts: Table[tuple[str, int], int] = Table("parts", tuple[str, int], int, durable=False)
        self.beats: Table[str, int] = Table("beats", str, int, durable=False)
        self._views = (
            View.of_table(LASTING, self.lasting),
            View(SUMS, {"parts": lambda change: (change.key[0],)}, self.sum, lambda: {key for key, _ in self.parts}),
            View.of_table(BEATS, self.beats),
        )

    def sum(self, key: str) -> int | None:
        """What all sessions have added; None if it is nothing."""
        return sum(part for (name, _), part in self.parts.items() if name == key) or None

    @property
    def tables(self) -> Sequence[Table[Any, Any]]:
        return [self.lasting, self.hidden, self.parts, self.beats]

    @property
    def views(self) -> Sequence[View[Any, Any]]:
        return self._views

    def apply(self, command: Any, context: Context) -> Any:
        match command:
            case Put(key, text):
                self.lasting.put(key, text)
            case Drop(key):
                if key not in self.lasting:
                    raise Absent(key)
                self.lasting.delete(key)
            case Add(key, amount):
                part = (key, context.session)
                self.parts.put(part, (self.parts.get(part) or 0) + amount)
                return self.sum(key)
            case Beat(key):
                self.beats.put(key, (self.beats.get(key) or 0) + 1)
                return self.beats.get(key)
            case Hide():
                self.hidden.put("", (self.hidden.get("") or 0) + 1)
        return None

    def session_ended(self, context: Context, exit: Exit | None) -> None:  # noqa: ARG002 - the contract's
        for part in [part for part in self.parts if part[1] == context.session]:
            self.parts.delete(part)


class Turning:
    """An owner that turns when it is told to: the engine, and real queues.

    Args:
        clock: The time.
        log: The session log, of which it takes a duplicate.
        journal: Where durable changes go.
        epoch: The number of the life.
    """

    def __init__(self, clock: Clock, log: SessionLog, journal: Journal | None = None, epoch: int = 1) -> None:
        self.actor = CopiedActor()
        self.engine = Engine(self.actor, journal or NoJournal(), SessionLog(os.dup(log.fileno())), clock, epoch)
        self.epoch = epoch
        self.members: dict[int, Member] = {}
        self._epoll = select.epoll()
        self.mail = Mail(self._epoll)
        self.broadcast = Broadcast(self.engine.observers, self.mail, self.members, clock)
        self.known = self.engine.recover()

    def join(self, session: int, end: Channel) -> None:
        """A session begins, or goes on."""
        member = self.members[session] = Member(session, end)
        self._epoll.register(member.fd, member.events)
        self.engine.join(session)
        self._welcome(member)

    def _welcome(self, member: Member) -> None:
        self.mail.post(member, frames.encode([Welcome(self.epoch, member.session, 50)]))

    def end(self, session: int) -> None:
        """A session is over."""
        member = self.members.pop(session, None)
        if member is not None:
            self._epoll.unregister(member.fd)
        self.engine.end(session)
        self.finish()

    def turn(self) -> None:
        """Do what was said, answer, and send what is due."""
        for member in self.members.values():
            self.mail.flush(member)
            while (message := member.channel.receive()) is not None:
                for frame in frames.decode_to_owner(message):
                    self._take(member, frame)
        self.finish()
        self.broadcast.send()

    def finish(self) -> None:
        """End the turn."""
        for session, answers in self.engine.commit().items():
            if session in self.members:
                self.mail.answer(self.members[session], answers)

    def tick(self) -> None:
        """Half a second is over."""
        self.engine.tick()
        self.finish()
        self.broadcast.beat()

    def _take(self, member: Member, frame: frames.ToOwner) -> None:
        session = member.session
        match frame:
            case Hello(epoch, answered) if epoch == self.epoch:
                member.greeted = True
                self.engine.acknowledge(session, answered)
            case Hello():
                self._welcome(member)
            case Ask() | Batch() if member.greeted:
                self.engine.ask(session, frame)
            case Follow() if member.greeted:
                self.engine.observers.follow(session, frame)
            case Sync() if member.greeted:
                self.engine.observers.sync(session, frame)
            case Cancel(number) if member.greeted:
                self.engine.cancel(session, number)
            case Acked(answered) if member.greeted:
                self.engine.acknowledge(session, answered)

    def close(self) -> None:
        """It is gone; the queues stay."""
        self._epoll.close()
        self.engine.ledger._log.close()


def narrow_pair(update_bytes: int) -> tuple[Channel, Channel]:
    """The owner's and the worker's end of a queue with little room, so that updates are soon dropped."""
    left, right = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    left.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 16_384)  # a message of the tests must fit
    return Channel(left, update_bytes=update_bytes), Channel(right)
