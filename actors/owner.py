"""The owner process: one thread, one loop, all the state.

wait → read from each ready queue → apply a little of what each has said → store → answer → wait
"""

from __future__ import annotations

import importlib
import logging
import select
import time
from collections import deque

import msgspec

from actors import frames
from actors.actor import Actor
from actors.channel import Channel
from actors.clock import Clock, SystemClock
from actors.errors import UNDECODABLE, MessageTooLarge, QueueClosed
from actors.exits import Exit
from actors.frames import Acked, Ask, Batch, Bye, Cancel, Hello, Inspect, Refused, ToOwner, Welcome
from actors.journal import Journal
from actors.processes.child import Child
from actors.processes.control import Begin, Control, Died, Ended, FreshLog, Join, Leave, ToChild
from actors.pulse import Pulse
from actors.session_log import SessionLog
from actors.statistics import Durations, OwnerStatistics
from actors.turns.engine import Engine

logger = logging.getLogger(__name__)

SLICE_BYTES = 1024
"""What is done for one session, in bytes of commands and answers, before the next one's turn."""

TURN_BYTES = 64 * 1024
"""What is done for all together before it is stored and answered; if somebody new waits, it is a slice each."""

UNSENT_BYTES = 32 * 1024 * 1024
"""A session that leaves this much unread is not read from until it has caught up."""

FRAME_BYTES = 64
"""About what a frame costs besides its command and its answer."""

PACKET_BYTES = 48 * 1024
"""Answers share a message up to about this size."""

WINDOW = 1024
"""Unanswered commands a session may have."""

TICK_S = 0.5
"""How often the actor is told the time."""

ORPHAN_GRACE_S = 1.0
"""How long the owner may take to close its journal after the supervisor has died."""

REASON_S = 1.0
"""How long the supervisor may take to say how a process has ended whose queue has ended."""


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

    __slots__ = ("backlog", "channel", "events", "gone", "greeted", "left", "misunderstood", "session")

    def __init__(self, session: int, channel: Channel) -> None:
        self.session = session
        self.channel = channel
        self.greeted = False  # no Hello of this epoch yet: what arrives was meant for the owner before
        self.left = False  # it has said farewell
        self.gone = False  # its process is dead; what it said last is still to be done
        self.backlog: deque[ToOwner] = deque()
        self.misunderstood = 0
        self.events = select.EPOLLIN


class Owner:
    """The loop.

    Args:
        engine: What is done with the commands.
        control: The line to the supervisor.
        clock: The time.
        pulse: Where each turn leaves a sign of life.
    """

    def __init__(self, engine: Engine, control: Control[ToChild], clock: Clock, pulse: Pulse | None = None) -> None:
        self._engine = engine
        self._control = control
        self._clock = clock
        self._pulse = pulse or Pulse.create()
        self._epoll = select.epoll()
        self._epoll.register(control.fileno(), select.EPOLLIN)
        self._members: dict[int, _Member] = {}
        self._sessions: dict[int, _Member] = {}
        self._busy: dict[int, _Member] = {}
        self._departing: dict[int, float] = {}
        self._deaths: dict[int, Exit | None] = {}
        self._next_tick = 0.0
        self._leaving = False
        self._misunderstood = 0
        self._turn_times = Durations()

    def greet_all(self, known: set[int]) -> None:
        """Take over the sessions that exist and end those (of `known`) that do not any more."""
        while True:
            received = self._control.receive(block=True)
            assert received is not None  # noqa: S101 - a blocking receive
            message, fds = received
            match message:
                case Begin():
                    self._deaths.update(message.died)
                    self._engine.crashed(message.crashed)
                    if not message.more:
                        break
                case Died():
                    self._deaths[message.session] = message.exit
                case _:
                    self._heard(message, fds)
        for session in known - self._sessions.keys():
            self._engine.end(session, self._deaths.get(session))
        self._deaths = {session: exit for session, exit in self._deaths.items() if session in self._sessions}
        self._finish_turn()

    def run(self) -> None:
        """Serve until the supervisor says `Leave` or is gone, or a successor is wanted."""
        while not (self._leaving or self._engine.wants_successor):
            self._pulse.beat()
            now = self._clock.monotonic()
            if now >= self._next_tick:
                self._tick(now)
            wait_s = 0.0 if self._busy else max(0.0, self._next_wake() - now)
            ready = self._epoll.poll(wait_s)
            start = time.perf_counter()
            for fd, events in ready:
                self._serve(fd, events)
            if self._busy:
                self._work()
            self._finish_turn()
            self._turn_times.note(time.perf_counter() - start)

    def statistics(self) -> OwnerStatistics:
        """A snapshot."""
        engine, turn, ledger = self._engine, self._engine.turn, self._engine.ledger
        peers = turn.peers.values()
        return OwnerStatistics(
            epoch=engine.epoch,
            revision=turn.revision,
            turns=ledger.turn,
            commands=engine.commands,
            repeated=engine.repeated,
            refused=dict(turn.refused),
            misunderstood=self._misunderstood,
            sessions=len(self._sessions),
            waiting=engine.waiting,
            backlog_bytes=sum(_size(frame) for member in self._busy.values() for frame in member.backlog),
            unsent_bytes=sum(member.channel.unsent_bytes for member in self._sessions.values()),
            stored_answers=sum(len(peer.answers) for peer in peers),
            stored_bytes=sum(peer.stored_bytes for peer in peers),
            log_bytes=ledger.log_bytes,
            compactions=ledger.compactions,
            in_doubt=engine.in_doubt,
            turn_ms=self._turn_times.snapshot(),
            journal_ms=ledger.journal_times.snapshot(),
        )

    # -- time ------------------------------------------------------------------------------------------------

    def _next_wake(self) -> float:
        return min(self._next_tick, *self._departing.values()) if self._departing else self._next_tick

    def _tick(self, now: float) -> None:
        self._engine.tick()
        self._next_tick = now + TICK_S
        self._finish_turn()
        if self._control.blocked:
            self._hear_supervisor()

    # -- the supervisor's messages ---------------------------------------------------------------------------

    def _hear_supervisor(self) -> None:
        try:
            while (received := self._control.receive()) is not None:
                self._heard(*received)
            self._control.flush()
        except QueueClosed:
            self._leaving = True

    def _heard(self, message: ToChild, fds: list[int]) -> None:
        match message:
            case Join():
                for session, fd in zip(message.sessions, fds, strict=True):
                    self._join(session, fd)
            case Died():
                self._deaths[message.session] = message.exit
                if message.session in self._departing:
                    self._end(self._sessions[message.session])
                elif message.session not in self._sessions:
                    del self._deaths[message.session]  # it has ended already
            case Leave():
                self._leaving = True
            case _:
                pass

    def _join(self, session: int, fd: int) -> None:
        member = _Member(session, Channel.from_fd(fd))
        self._members[fd] = self._sessions[session] = member
        self._engine.join(session)
        self._epoll.register(fd, member.events)
        self._post(member, frames.encode([Welcome(self._engine.epoch, session, WINDOW)]))

    # -- the workers' messages -------------------------------------------------------------------------------

    def _serve(self, fd: int, events: int) -> None:
        if fd == self._control.fileno():
            self._hear_supervisor()
            return
        member = self._members.get(fd)
        if member is None:
            return
        if events & select.EPOLLHUP:
            member.gone = True
            self._busy[fd] = member
            return
        if events & select.EPOLLOUT:
            self._flush(member)
        if events & select.EPOLLIN and not member.backlog:
            self._read(member)

    def _read(self, member: _Member) -> bool:
        """Take one message; the first slice of it is done at once. False if there is none, or none will ever come."""
        try:
            message = member.channel.receive()
        except QueueClosed:
            member.gone = True
            self._busy[member.channel.fileno()] = member
            return False
        except MessageTooLarge as error:
            self._refuse(member, str(error))
            return True
        if message is None:
            return False
        try:
            said = frames.decode_to_owner(message)
        except UNDECODABLE as error:
            self._refuse(member, f"this message was not understood and none of it was done: {error}")
            return True
        if len(said) == 1:
            self._take(member, said[0])
        else:
            member.backlog.extend(said)
            self._busy[member.channel.fileno()] = member
        return True

    def _work(self) -> None:
        """Do what was read, a slice for each session in turn, until enough is done or somebody new waits."""
        spent = 0
        while True:
            for member in list(self._busy.values()):
                spent += self._work_slice(member)
            if not self._busy or spent >= TURN_BYTES:
                return
            if any(fd not in self._busy for fd, _ in self._epoll.poll(0)):
                return

    def _work_slice(self, member: _Member) -> int:
        """Returns what it cost, in bytes."""
        before = self._engine.turn.out_bytes
        cost = 0
        backlog = member.backlog
        while cost < SLICE_BYTES:
            if member.channel.unsent_bytes >= UNSENT_BYTES and not member.gone:
                del self._busy[member.channel.fileno()]  # `_flush` puts it back
                break
            if not backlog:
                if member.gone and self._read(member):
                    cost += FRAME_BYTES
                    continue
                self._rest(member)
                break
            frame = backlog.popleft()
            self._take(member, frame)
            cost += _size(frame) + self._engine.turn.out_bytes - before
            before = self._engine.turn.out_bytes
        return cost

    def _rest(self, member: _Member) -> None:
        """Everything it has said is done."""
        self._busy.pop(member.channel.fileno(), None)
        if member.gone:
            self._depart(member)

    def _take(self, member: _Member, frame: ToOwner) -> None:
        session = member.session
        if isinstance(frame, Hello):
            if frame.epoch == self._engine.epoch:
                member.greeted = True
                self._engine.acknowledge(session, frame.answered)
        elif member.greeted:
            match frame:
                case Ask() | Batch():
                    self._engine.ask(session, frame, posthumous=member.gone)
                case Acked(answered):
                    self._engine.acknowledge(session, answered)
                case Cancel(number):
                    self._engine.cancel(session, number)
                case Inspect(number):
                    self._engine.reply(session, number, self.statistics())
                case Bye():
                    member.left = True

    def _refuse(self, member: _Member, reason: str) -> None:
        if not member.misunderstood:  # one line tells of a broken program; it must not flood the log as well
            logger.warning("session %d: %s", member.session, reason)
        member.misunderstood += 1
        self._misunderstood += 1
        self._post(member, frames.encode([Refused(reason)]))

    # -- the end of a session --------------------------------------------------------------------------------

    def _depart(self, member: _Member) -> None:
        """Its process is gone and all it has said is done. How it ended, the supervisor knows in a moment."""
        fd = member.channel.fileno()
        self._epoll.unregister(fd)
        del self._members[fd]
        self._departing[member.session] = self._clock.monotonic() + REASON_S
        if member.left or member.session in self._deaths:
            self._end(member)

    def _end(self, member: _Member) -> None:
        session = member.session
        member.channel.shutdown()
        del self._sessions[session]
        del self._departing[session]
        self._engine.end(session, self._deaths.pop(session, None))
        try:
            self._control.send(Ended(session))
        except QueueClosed:
            self._leaving = True

    def _end_overdue(self) -> None:
        now = self._clock.monotonic()
        for session in [session for session, until in self._departing.items() if until <= now]:
            self._end(self._sessions[session])

    # -- the end of a turn -----------------------------------------------------------------------------------

    def _finish_turn(self) -> None:
        if self._departing:
            self._end_overdue()
        for session, answers in self._engine.commit().items():
            member = self._sessions.get(session)
            if member is not None and session not in self._departing:
                self._answer(member, answers)

    def _answer(self, member: _Member, answers: list[bytes]) -> None:
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
            if member.backlog:
                self._busy[member.channel.fileno()] = member


def _size(frame: ToOwner) -> int:
    """About what a frame costs, in bytes."""
    if isinstance(frame, Ask):
        return FRAME_BYTES + len(frame.command)
    return FRAME_BYTES + (
        sum(len(command) + FRAME_BYTES for command in frame.commands) if isinstance(frame, Batch) else 0
    )


def main(child: Child) -> None:
    """The owner process."""
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
    engine = Engine(actor, journal, SessionLog(child.fds[0]), clock, start.epoch, hand_over, pulse)
    known = engine.recover()
    owner = Owner(engine, child.control, clock, pulse)
    try:
        owner.greet_all(known)
        child.ready()
        owner.run()
    except QueueClosed:
        logger.warning("the supervisor is gone")
    journal.close()
