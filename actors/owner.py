"""The owner process: one thread, one loop, all the state.

wait → read from each ready queue → apply a little of what each has said → store → answer → wait
"""

from __future__ import annotations

import functools
import importlib
import logging
import select
import time
from collections.abc import Callable, Sequence

import msgspec

from actors import frames
from actors.actor import Actor
from actors.channel import Channel
from actors.clock import Clock, SystemClock
from actors.errors import UNDECODABLE, MessageTooLarge, QueueClosed
from actors.exits import Exit
from actors.frames import Acked, Ask, Batch, Bye, Cancel, Follow, Hello, Inspect, Refused, Sync, ToOwner, Watch, Welcome
from actors.journal import Journal
from actors.processes.child import Child
from actors.processes.control import Begin, Control, Died, Ended, FreshLog, Join, Leave, ToChild
from actors.pulse import Pulse
from actors.session_log import SessionLog
from actors.spinning import Spinning
from actors.statistics import Durations, OwnerStatistics
from actors.turns.broadcast import Broadcast
from actors.turns.engine import Engine
from actors.turns.mail import Mail
from actors.turns.members import DECODED_BYTES, Member, Pace, cost_of

logger = logging.getLogger(__name__)

LONE = Pace(slice_bytes=1024, turn_bytes=16 * 1024)
"""For a session that has much to say while nobody else speaks."""

CROWDED = Pace(slice_bytes=64, turn_bytes=1024)
"""While others come and go: a command or two between two looks whether somebody waits."""

MOST_HELD = 256
"""So many answers at most are held back for one that says much in a crowd."""

LONE_AFTER = 16
"""So many turns in which nobody else has spoken."""

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


class Owner:
    """The loop.

    Args:
        engine: What is done with the commands.
        control: The line to the supervisor.
        clock: The time.
        pulse: Where the loop leaves a sign of life twice a second; without one nobody looks for it.
    """

    def __init__(self, engine: Engine, control: Control[ToChild], clock: Clock, pulse: Pulse | None = None) -> None:
        self._engine = engine
        self._control = control
        self._clock = clock
        self._beat: Callable[[], None] = pulse.beat if pulse is not None else lambda: None
        self._epoll = select.epoll()
        self._look = functools.partial(self._epoll.poll, 0)
        self._spinning = Spinning()
        self._mail = Mail(self._epoll)
        self._epoll.register(control.fileno(), select.EPOLLIN)
        self._members: dict[int, Member] = {}
        self._sessions: dict[int, Member] = {}
        self._observers = engine.observers
        self._broadcast = Broadcast(engine.observers, self._mail, self._sessions, clock)
        self._busy: dict[int, Member] = {}
        self._departing: dict[int, float] = {}
        self._deaths: dict[int, Exit | None] = {}
        self._next_tick = 0.0
        self._alone_for = LONE_AFTER
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
            now = self._clock.monotonic()
            if now >= self._next_tick:
                self._tick(now)
            more = False
            if self._observers.active and self._broadcast.is_due(now):
                self._finish_turn()  # nobody is shown what is not stored
                more = self._broadcast.send()
            if more or self._busy or self._mail.held:
                ready = self._look()
            else:
                ready = self._spinning.until(self._look) or self._epoll.poll(max(0.0, self._next_wake() - now))
            start = time.perf_counter()
            for fd, events in ready:
                self._serve(fd, events)
            if self._busy:
                if any(fd not in self._busy for fd, _ in ready):
                    self._alone_for = 0
                    self._finish_turn()  # who has asked for little does not wait for those who ask for much
                if self._work() and not self._leaving:
                    continue  # what was done is stored with what they ask, and they do not wait for that
            self._finish_turn(ready)
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
            backlog_bytes=sum(member.backlog_bytes for member in self._sessions.values()),
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
        wake = self._next_tick
        if self._observers.active:
            wake = min(wake, self._broadcast.due_at)
        return min(wake, *self._departing.values()) if self._departing else wake

    def _tick(self, now: float) -> None:
        self._beat()
        self._engine.tick()
        self._next_tick = now + TICK_S
        self._finish_turn()
        self._broadcast.beat()
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
                for session, name, fd in zip(message.sessions, message.names, fds, strict=True):
                    self._join(session, name, fd)
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

    def _join(self, session: int, name: str, fd: int) -> None:
        member = Member(session, Channel.from_fd(fd))
        self._members[fd] = self._sessions[session] = member
        self._engine.join(session, name)
        self._epoll.register(fd, member.events)
        self._welcome(member)

    def _welcome(self, member: Member) -> None:
        self._mail.post(member, frames.encode([Welcome(self._engine.epoch, member.session, WINDOW)]))

    # -- the workers' messages -------------------------------------------------------------------------------

    def _serve(self, fd: int, events: int) -> None:
        if fd == self._control.fileno():
            self._hear_supervisor()
            return
        member = self._members.get(fd)
        if member is None:
            return
        if events & select.EPOLLHUP:
            self._gone(member)
            return
        if events & select.EPOLLOUT:
            self._mail.flush(member)
            self._resume(member)
        if events & select.EPOLLIN and fd not in self._busy and not member.paused:
            self._read(member)

    def _read(self, member: Member) -> bool:
        """Take one message; a short one is done at once. False if there is none, or none will ever come."""
        try:
            message = member.channel.receive()
        except QueueClosed:
            self._gone(member)
            return False
        except MessageTooLarge as error:
            self._refuse(member, str(error))
            return True
        if message is None:
            return False
        if len(message) > LONE.slice_bytes:
            member.unread = message
            self._says_much(member)
        else:
            member.says_much = False
            self._understand(member, message)
        return True

    def _gone(self, member: Member) -> None:
        """Its process is dead, so nothing more is sent; what it has said is still to be done."""
        if not member.gone:
            member.gone = True
            member.paused = False
            member.channel.forget_unsent()
            self._mail.forget(member)
        self._busy[member.fd] = member

    def _resume(self, member: Member) -> None:
        """It reads again: first of all, what it had said before is done."""
        if member.paused and not member.is_full:
            member.paused = False
            self._mail.flush(member)
            self._busy[member.fd] = member

    def _says_much(self, member: Member) -> None:
        member.says_much = True
        self._busy[member.fd] = member

    def _understand(self, member: Member, message: bytes) -> None:
        try:
            said = frames.decode_to_owner(message)
        except UNDECODABLE as error:
            self._refuse(member, f"this message was not understood and none of it was done: {error}")
            return
        if len(said) == 1:
            self._take(member, said[0])
        else:
            member.backlog.extend(said)
            self._says_much(member)

    def _work(self) -> bool:
        """Do what was read, a slice for each session in turn, until enough is done or somebody new waits: then True."""
        self._alone_for += 1
        pace = LONE if self._alone_for > LONE_AFTER else CROWDED
        spent = 0
        while True:
            for member in list(self._busy.values()):
                spent += self._work_slice(member, pace.slice_bytes)
            if not self._busy or spent >= pace.turn_bytes:
                return False
            if any(fd not in self._busy for fd, _ in self._look()):
                return True

    def _work_slice(self, member: Member, slice_bytes: int) -> int:
        """Returns what it cost, in bytes."""
        turn = self._engine.turn
        cost = 0
        while cost < slice_bytes:
            if member.is_full:
                del self._busy[member.fd]
                member.paused = True
                self._mail.flush(member)
                break
            before = turn.out_bytes
            if member.backlog:
                frame = member.backlog.popleft()
                self._take(member, frame)
                cost += cost_of(frame) + turn.out_bytes - before
            elif member.unread is not None:
                message, member.unread = member.unread, None
                cost += len(message) // DECODED_BYTES
                self._understand(member, message)
            elif not (member.gone and self._read(member)):
                self._rest(member)
                break
        return cost

    def _rest(self, member: Member) -> None:
        """Everything it has said is done."""
        self._busy.pop(member.fd, None)
        if member.gone:
            self._depart(member)

    def _take(self, member: Member, frame: ToOwner) -> None:
        if isinstance(frame, Hello):
            if frame.epoch == self._engine.epoch:
                member.greeted = True
                self._engine.acknowledge(member.session, frame.answered)
            else:
                self._welcome(member)  # that of this epoch is still under way, or was lost in the other process
        elif not member.greeted:
            pass
        elif isinstance(frame, Ask) or isinstance(frame, Batch):  # noqa: SIM101 - a union is made anew at each command
            self._engine.ask(member.session, frame, posthumous=member.gone)
        else:
            self._take_besides(member, frame)

    def _take_besides(self, member: Member, frame: Acked | Bye | Cancel | Follow | Inspect | Watch | Sync) -> None:
        """Take what is no command."""
        session = member.session
        match frame:
            case Acked(answered):
                self._engine.acknowledge(session, answered)
            case Cancel(number):
                self._engine.cancel(session, number)
            case Inspect(number):
                self._engine.reply(session, number, self.statistics())
            case Watch() | Follow() | Sync():
                if not member.gone:
                    self._engine.observers.hear(session, frame)
            case Bye():
                member.left = True

    def _refuse(self, member: Member, reason: str) -> None:
        if not member.misunderstood:  # one line tells of a broken program; it must not flood the log as well
            logger.warning("session %d: %s", member.session, reason)
        member.misunderstood += 1
        self._misunderstood += 1
        self._mail.post(member, frames.encode([Refused(reason)]))

    # -- the end of a session --------------------------------------------------------------------------------

    def _depart(self, member: Member) -> None:
        """Its process is gone and all it has said is done. How it ended, the supervisor knows in a moment."""
        fd = member.fd
        self._epoll.unregister(fd)
        del self._members[fd]
        self._departing[member.session] = self._clock.monotonic() + REASON_S
        if member.left or member.session in self._deaths:
            self._end(member)

    def _end(self, member: Member) -> None:
        session = member.session
        member.channel.shutdown()
        del self._sessions[session]
        del self._departing[session]
        self._engine.end(session, self._deaths.pop(session, None))
        if self._engine.in_doubt:
            return  # nothing of it was stored: a successor ends it for good, and is told once more how it ended
        try:
            self._control.send(Ended(session))
        except QueueClosed:
            self._leaving = True

    def _end_overdue(self) -> None:
        now = self._clock.monotonic()
        for session in [session for session, until in self._departing.items() if until <= now]:
            self._end(self._sessions[session])

    # -- the end of a turn -----------------------------------------------------------------------------------

    def _finish_turn(self, ready: Sequence[tuple[int, int]] = ()) -> None:
        """Store, answer, and let go of what was held back for those that have no more to say."""
        if self._departing:
            self._end_overdue()
        crowded = self._alone_for <= LONE_AFTER
        for session, answers in self._engine.commit().items():
            member = self._sessions.get(session)
            if member is None or member.gone:
                continue
            if crowded and member.says_much:
                # To wake its process for each slice would cost the owner more than the slice.
                self._mail.hold(member, answers)
            else:
                self._mail.answer(member, answers)
        if self._mail.held:
            self._let_go(crowded, {fd for fd, _ in ready})

    def _let_go(self, crowded: bool, ready: set[int]) -> None:
        for member, held in list(self._mail.held.items()):
            more = member.fd in self._busy or member.fd in ready
            if len(held) >= MOST_HELD or not (crowded and more):
                self._mail.answer(member, [])


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
    engine.close()
