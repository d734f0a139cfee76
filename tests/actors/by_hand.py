"""An owner without a thread: the test takes its turns, one by one."""

import contextlib
import math
import select
import signal
import socket
from collections.abc import Iterator, Sequence
from typing import Any

import msgspec

from actors import frames
from actors.channel import Channel
from actors.clock import ManualClock
from actors.frames import Answer, Ask, Hello, Refused
from actors.journal import Journal, NoJournal
from actors.owner import Owner
from actors.processes.control import Control, Died, Ended, FromOwner, Join, ToChild
from actors.session_log import SessionLog
from actors.statistics import Durations
from actors.turns.engine import Engine
from tests.actors.counter import CounterActor, duplicate
from tests.actors.owners import encode

PATIENCE_S = 10
"""Longest time that a turn, or all there is to do, may take; most take less than a millisecond."""


class _OneTurn(Durations):
    """Where the loop notes how long a turn has taken, there it is told to leave."""

    def __init__(self, owner: Owner) -> None:
        super().__init__()
        self._owner = owner

    def note(self, seconds: float) -> None:
        super().note(seconds)
        self._owner._leaving = True


class Worker:
    """A session that says what the test says, and has said Hello."""

    def __init__(self, channel: Channel, number: int) -> None:
        self.channel = channel
        self.number = number
        self.messages: list[list[int]] = []
        self.refused: list[str] = []
        self.say(Hello(1, []))

    def say(self, *said: Any) -> None:
        """Say all in one message."""
        self.channel.post(frames.encode(list(said)))

    def ask(self, *commands: Any, first: int = 1, then: Sequence[Any] = ()) -> None:
        """Ask all, and say what comes then, in one message."""
        asks = [Ask(number, math.inf, 0, msgspec.Raw(encode(one))) for number, one in enumerate(commands, first)]
        self.say(*asks, *then)

    def hear(self) -> list[int]:
        """The numbers of all answers that have arrived so far; `messages` has them as they came."""
        while (message := self.channel.receive()) is not None:
            said = frames.decode_to_worker(message)
            self.refused += [frame.reason for frame in said if isinstance(frame, Refused)]
            answers = [frame.number for frame in said if isinstance(frame, Answer)]
            if answers:
                self.messages.append(answers)
        return [number for message in self.messages for number in message]


class ByHand:
    """An owner whose turns are taken one by one.

    Args:
        journal: Where durable changes go.
        log: What a life before has left; this one takes a duplicate of it.
        epoch: The number of the life.
        actor: What it owns; a `CounterActor` unless told otherwise.
    """

    def __init__(
        self, journal: Journal | None = None, log: SessionLog | None = None, epoch: int = 1, actor: Any = None
    ) -> None:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.line: Control[Any] = Control(ours, FromOwner)
        self.theirs: Control[Any] = Control(theirs, ToChild)
        self.clock = ManualClock()
        self.actor = actor or CounterActor()
        self.log = SessionLog.create() if log is None else duplicate(log)
        self.engine = Engine(self.actor, journal or NoJournal(), self.log, self.clock, epoch)
        self.known = self.engine.recover()
        self.owner = Owner(self.engine, self.theirs, self.clock)
        self.owner._turn_times = _OneTurn(self.owner)
        self._ends: dict[int, tuple[Channel, Channel]] = {}

    def ends(self) -> tuple[int, Channel, Channel]:
        """A new session of which the owner has not heard: its number, the owner's end and the worker's."""
        session = len(self._ends) + 1
        self._ends[session] = Channel.pair()
        return session, *self._ends[session]

    def join(self) -> Worker:
        """A new session, which the owner has heard greet it."""
        session, owner_end, worker_end = self.ends()
        self.line.send(Join([session], ["test"]), [owner_end.fileno()])
        worker = Worker(worker_end, session)
        self.work()
        return worker

    def hang_up(self, worker: Worker) -> None:
        """The process of a session dies, as the supervisor sees to it; the owner has not looked yet."""
        worker.channel.close()
        self._ends[worker.number][0].hang_up()

    def died(self, worker: Worker, exit: Any) -> None:
        """The supervisor tells how the process of a session has ended."""
        self.line.send(Died(worker.number, exit))

    def turn(self, times: int = 1) -> None:
        """Let the owner take its next turns, and no more."""
        with _patience():
            for _ in range(times):
                self._turn()

    def work(self) -> None:
        """Take turns until there is nothing to do."""
        with _patience():
            while not self._idle:
                self._turn()

    def _turn(self) -> None:
        if self._idle:
            self.line.send(Join([], []))  # so that it need not wait
        self.owner._leaving = False
        self.owner.run()

    @property
    def _idle(self) -> bool:
        return not (self.owner._busy or self.owner._mail.held or self.owner._epoll.poll(0))

    def listens_to(self, worker: Worker) -> int:
        """For which events of a session's queue the owner waits."""
        return self.owner._sessions[worker.number].events & (select.EPOLLIN | select.EPOLLOUT)

    def ended(self) -> list[int]:
        """The sessions whose end was told since the last time."""
        found = []
        while (received := self.line.receive()) is not None:
            assert isinstance(received[0], Ended)
            found.append(received[0].session)
        return found

    def close(self) -> None:
        for member in self.owner._sessions.values():
            member.channel.close()
        for ends in self._ends.values():
            for end in ends:
                end.close()
        self.owner._epoll.close()
        self.line.close()
        self.theirs.close()
        self.engine.ledger.close()


@contextlib.contextmanager
def _patience() -> Iterator[None]:
    """An owner that does not come to an end fails the test instead of keeping it."""

    def give_up(*_: object) -> None:
        raise AssertionError(f"the owner has not finished within {PATIENCE_S} s")

    handler = signal.signal(signal.SIGALRM, give_up)
    before_s, _ = signal.setitimer(signal.ITIMER_REAL, PATIENCE_S)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, before_s)
        signal.signal(signal.SIGALRM, handler)


@contextlib.contextmanager
def owner_by_hand(*arguments: Any, **options: Any) -> Iterator[ByHand]:
    """An owner for the length of a block; takes what `ByHand` takes."""
    hand = ByHand(*arguments, **options)
    try:
        yield hand
    finally:
        hand.close()
