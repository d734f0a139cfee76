"""An owner without a thread: its loop is turned by the test's hand."""

import math
import socket
from collections.abc import Sequence
from typing import Any

import msgspec

from actors import frames
from actors.channel import Channel
from actors.clock import ManualClock
from actors.frames import Answer, Ask, Hello
from actors.journal import NoJournal
from actors.owner import Owner
from actors.processes.control import Control, Ended, FromOwner, Join, ToChild
from actors.pulse import Pulse
from actors.session_log import SessionLog
from actors.turns.engine import Engine
from tests.actors.counter import CounterActor
from tests.actors.owners import encode


class _OneTurn(Pulse):
    """Stops the loop that shows its pulse after the turn that begins."""

    owner: Owner

    def beat(self) -> None:
        super().beat()
        self.owner._leaving = True


class Worker:
    """A session that says what the test says, and has said Hello."""

    def __init__(self, channel: Channel) -> None:
        self.channel = channel
        self.messages: list[list[Any]] = []
        self.say(Hello(1, []))

    def say(self, *said: Any) -> None:
        self.channel.post(frames.encode(list(said)))

    def ask(self, *commands: Any, first: int = 1, then: Sequence[Any] = ()) -> None:
        """Ask all, and say what comes then, in one message."""
        asks = [Ask(number, math.inf, 0, msgspec.Raw(encode(one))) for number, one in enumerate(commands, first)]
        self.say(*asks, *then)

    def hear(self) -> list[int]:
        """The numbers of all answers that have arrived so far; `messages` has them as they came."""
        while (message := self.channel.receive()) is not None:
            answers = [frame.number for frame in frames.decode_to_worker(message) if isinstance(frame, Answer)]
            if answers:
                self.messages.append(answers)
        return [number for message in self.messages for number in message]


class ByHand:
    """An owner whose turns are taken one by one."""

    def __init__(self) -> None:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.line: Control[Any] = Control(ours, FromOwner)
        self.clock = ManualClock()
        self.actor = CounterActor()
        self.log = SessionLog.create()
        self.engine = Engine(self.actor, NoJournal(), self.log, self.clock, 1)
        self.pulse = _OneTurn.create()
        assert isinstance(self.pulse, _OneTurn)
        self.theirs: Control[Any] = Control(theirs, ToChild)
        self.owner = self.pulse.owner = Owner(self.engine, self.theirs, self.clock, self.pulse)
        self.ends: list[Channel] = []

    def join(self) -> Worker:
        owner_end, worker_end = Channel.pair()
        self.ends += [owner_end, worker_end]
        self.line.send(Join([len(self.ends) // 2]), [owner_end.fileno()])
        worker = Worker(worker_end)
        self.work()
        return worker

    def turn(self, times: int = 1) -> None:
        for _ in range(times):
            if not (self.owner._busy or self.owner._epoll.poll(0)):
                self.line.send(Join([]))  # so that it need not wait
            self.owner._leaving = False
            self.owner.run()

    def work(self) -> None:
        """Take turns until there is nothing to do."""
        while self.owner._busy or self.owner._epoll.poll(0):
            self.turn()

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
        for end in self.ends:
            end.close()
        self.owner._epoll.close()
        self.line.close()
        self.theirs.close()
        self.pulse.close()
        self.log.close()
