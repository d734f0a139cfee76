"""The owner process: one thread, one loop, all the state.

wait → read a little from each ready queue → apply → store → answer → wait
"""

from __future__ import annotations

import importlib
import logging
import math
import select
import signal

import msgspec

from actors import frames
from actors.actor import Actor
from actors.channel import Channel
from actors.child import Child
from actors.clock import Clock, SystemClock
from actors.control import Begin, Control, Ended, FreshLog, Join, Leave, ToChild
from actors.engine import Engine
from actors.errors import UNDECODABLE, MessageTooLarge, QueueClosed
from actors.frames import Hello, Refused, Welcome
from actors.journal import Journal
from actors.pulse import Pulse
from actors.session_log import SessionLog

logger = logging.getLogger(__name__)

QUANTUM_BYTES = 64 * 1024
"""How much is read from one queue before the others have their turn."""

UNSENT_BYTES = 32 * 1024 * 1024
"""A session that leaves this much unread is not read from until it has caught up."""

SMALL_BYTES = 1024
"""Behind a message of fewer bytes another one is seldom waiting, and looking costs as much as epoll does."""

PACKET_BYTES = 48 * 1024
"""Answers share a message up to about this size."""

WINDOW = 1024
"""Unanswered commands a session may have."""

TICK_S = 0.5
"""How often the actor is told the time."""

ORPHAN_GRACE_S = 1.0
"""How long the owner may take to close its journal after the supervisor has died."""


class OwnerStart(msgspec.Struct, frozen=True):
    """The payload of an owner process.

    Attributes:
        actor: `module:function` that makes the actor and its journal from `options`.
        options: Bytes for that function.
        epoch: Number of this life.
    """

    actor: str
    options: bytes
    epoch: int


class _Member:
    """A session as the loop sees it."""

    __slots__ = ("channel", "events", "greeted", "misunderstood", "session")

    def __init__(self, session: int, channel: Channel) -> None:
        self.session = session
        self.channel = channel
        self.greeted = False  # no Hello of this epoch yet: what arrives was meant for the owner before
        self.misunderstood = 0
        self.events = select.EPOLLIN


class Owner:
    """The loop.

    Args:
        engine: What is done with the commands.
        control: The line to the supervisor.
        clock: The time.
        pulse: Where the supervisor sees that the loop turns.
    """

    def __init__(self, engine: Engine, control: Control[ToChild], clock: Clock, *, pulse: Pulse | None = None) -> None:
        self._pulse = pulse
        self._engine = engine
        self._control = control
        self._clock = clock
        self._epoll = select.epoll()
        self._epoll.register(control.fileno(), select.EPOLLIN)
        self._members: dict[int, _Member] = {}
        self._sessions: dict[int, _Member] = {}
        self._next_tick = 0.0
        self._leaving = False

    def greet_all(self, known: set[int]) -> None:
        """Take over the sessions that exist and end those (of `known`) that do not any more."""
        while True:
            received = self._control.receive(block=True)
            assert received is not None  # noqa: S101 - a blocking receive
            message, fds = received
            if isinstance(message, Begin):
                self._engine.crashed.update(message.crashed)
                if not message.more:
                    break
            if isinstance(message, Join):
                self._join(message, fds)
        for session in known - self._sessions.keys():
            self._engine.end(session)
        self._finish_turn()

    def run(self) -> None:
        """Serve until the supervisor says `Leave` or is gone."""
        control = self._control.fileno()
        while not self._leaving:
            if self._pulse is not None:
                self._pulse.beat()
            now = self._clock.monotonic()
            if now >= self._next_tick:
                self._engine.tick()
                self._next_tick = now + TICK_S
                self._finish_turn()
                if self._control.blocked:
                    self._hear_supervisor()
            for fd, events in self._epoll.poll(max(0.0, self._next_tick - now)):
                if fd == control:
                    self._hear_supervisor()
                elif (member := self._members.get(fd)) is not None:
                    self._serve(member, events)
            self._finish_turn()

    # -- the supervisor's messages ---------------------------------------------------------------------------

    def _hear_supervisor(self) -> None:
        try:
            while (received := self._control.receive()) is not None:
                message, fds = received
                match message:
                    case Join():
                        self._join(message, fds)
                    case Leave():
                        self._leaving = True
                    case _:
                        pass
            self._control.flush()
        except QueueClosed:
            self._leaving = True

    def _join(self, message: Join, fds: list[int]) -> None:
        for session, fd in zip(message.sessions, fds, strict=True):
            member = _Member(session, Channel.from_fd(fd))
            self._members[fd] = self._sessions[session] = member
            self._engine.join(session)
            self._epoll.register(fd, member.events)
            welcome = Welcome(self._engine.epoch, session, WINDOW)
            self._post(member, frames.encode([welcome]))

    # -- the workers' messages -------------------------------------------------------------------------------

    def _serve(self, member: _Member, events: int) -> None:
        if events & select.EPOLLHUP:
            if self._read(member, math.inf, posthumous=True):
                self._end(member)
            return
        if events & select.EPOLLOUT:
            self._flush(member)
        if events & select.EPOLLIN and self._read(member, QUANTUM_BYTES):
            self._end(member)

    def _read(self, member: _Member, quantum: float, *, posthumous: bool = False) -> bool:
        """Take messages until there are none or the quantum is used up; True when the other end is gone."""
        receive = member.channel.receive
        while quantum > 0:
            try:
                message = receive()
            except QueueClosed:
                return True
            except MessageTooLarge as error:
                self._refuse(member, str(error))
                continue
            if message is None:
                return False
            self._take(member, message, posthumous=posthumous)
            if len(message) < SMALL_BYTES and not posthumous:
                return False  # most likely there is no more yet; epoll will tell
            quantum -= len(message)
        return False

    def _take(self, member: _Member, message: bytes, *, posthumous: bool) -> None:
        try:
            said = frames.decode_to_owner(message)
        except UNDECODABLE as error:
            self._refuse(member, f"this message was not understood and none of it was done: {error}")
            return
        for frame in said:
            if isinstance(frame, Hello):
                if frame.epoch == self._engine.epoch:
                    member.greeted = True
                    self._engine.acknowledge(member.session, frame.answered)
            elif member.greeted:
                self._engine.ask(member.session, frame, posthumous=posthumous)

    def _refuse(self, member: _Member, reason: str) -> None:
        if not member.misunderstood:  # one line tells of a broken program; it must not flood the log as well
            logger.warning("session %d: %s", member.session, reason)
        member.misunderstood += 1
        self._post(member, frames.encode([Refused(reason)]))

    def _end(self, member: _Member) -> None:
        fd = member.channel.fileno()
        self._epoll.unregister(fd)
        member.channel.shutdown()
        del self._members[fd]
        del self._sessions[member.session]
        self._engine.end(member.session)
        try:
            self._control.send(Ended(member.session))
        except QueueClosed:
            self._leaving = True

    # -- answers ---------------------------------------------------------------------------------------------

    def _finish_turn(self) -> None:
        for session, answers in self._engine.commit().items():
            member = self._sessions.get(session)
            if member is None:
                continue
            if len(answers) == 1:
                self._post(member, b"\x91" + answers[0])  # a MessagePack list of one
            else:
                self._post_all(member, answers)

    def _post_all(self, member: _Member, answers: list[bytes]) -> None:
        together: list[msgspec.Raw] = []
        size = 0
        for answer in answers:
            if together and size + len(answer) > PACKET_BYTES:
                self._post(member, frames.encode(together))
                together = []
                size = 0
            together.append(msgspec.Raw(answer))
            size += len(answer)
        self._post(member, frames.encode(together))

    def _post(self, member: _Member, message: bytes) -> None:
        try:
            member.channel.post(message)
        except QueueClosed:
            return  # epoll tells the same with EPOLLHUP
        if member.channel.unsent_bytes or member.events != select.EPOLLIN:
            self._flush(member)

    def _flush(self, member: _Member) -> None:
        """Send what waits; wait for room if there is more, and stop reading from one that has far too much."""
        try:
            member.channel.flush()
        except QueueClosed:
            return
        unsent = member.channel.unsent_bytes
        events = select.EPOLLIN if unsent < UNSENT_BYTES else 0
        if unsent:
            events |= select.EPOLLOUT
        if events != member.events:
            member.events = events
            self._epoll.modify(member.channel.fileno(), events)


def main(child: Child) -> None:
    """The owner process."""
    # The kernel sends it to a stopped process that is orphaned; the journal shall be closed first.
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    child.end_after_supervisor(ORPHAN_GRACE_S)
    start = msgspec.msgpack.decode(child.payload, type=OwnerStart)
    module, _, name = start.actor.partition(":")
    made: tuple[Actor, Journal] = getattr(importlib.import_module(module), name)(start.options)
    actor, journal = made
    clock = SystemClock()

    def hand_over(log: SessionLog) -> None:
        # Nothing may be written to the new log before the supervisor is sure to find it.
        child.control.send(FreshLog(), [log.fileno()])
        room = select.poll()
        room.register(child.control.fileno(), select.POLLOUT)
        while child.control.blocked:
            room.poll()
            child.control.flush()

    pulse = Pulse(child.fds[1])
    engine = Engine(actor, journal, SessionLog(child.fds[0]), clock, start.epoch, hand_over, pulse=pulse)
    known = engine.recover()
    owner = Owner(engine, child.control, clock, pulse=pulse)
    try:
        owner.greet_all(known)
        child.ready()
        owner.run()
    except QueueClosed:
        logger.warning("the supervisor is gone")
    journal.close()
