"""An owner without processes: the real loop in a thread, and the supervisor's end of its line in the test's hand."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import msgspec

from actors.channel import Channel
from actors.clock import SystemClock
from actors.journal import NoJournal
from actors.owner import Owner
from actors.processes.control import Begin, Control, Ended, FromOwner, Join, Leave, ToChild
from actors.session_log import SessionLog
from actors.turns.engine import Engine
from tests.actors.counter import CounterActor, duplicate
from tests.polling import until


class LocalOwner:
    """An owner in a thread; a second life can follow the first on the same queues."""

    def __init__(self) -> None:
        self.log = SessionLog.create()
        self.ended: list[int] = []
        self._ends: dict[int, Channel] = {}
        self._epoch = 0
        self._thread: threading.Thread | None = None
        self.begin()

    def begin(self) -> None:
        """Let a (next) life begin, with the sessions that there are."""
        self._epoch += 1
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._line: Control[Any] = Control(ours, FromOwner)
        self._theirs: Control[Any] = Control(theirs, ToChild)
        self.actor = CounterActor()
        clock = SystemClock()
        self.engine = engine = Engine(self.actor, NoJournal(), duplicate(self.log), clock, self._epoch)
        known = engine.recover()
        owner = Owner(engine, self._theirs, clock)
        self._line.send(
            Join(list(self._ends), ["test"] * len(self._ends)), [end.fileno() for end in self._ends.values()]
        )
        self._line.send(Begin())

        def live() -> None:
            owner.greet_all(known)
            owner.run()
            for member in owner._sessions.values():
                member.channel.close()
            owner._epoll.close()
            engine.ledger._log.close()

        self._thread = threading.Thread(target=live)
        self._thread.start()

    def end(self) -> None:
        """Let the life end after its turn."""
        if self._thread is not None:
            self._line.send(Leave())
            self._thread.join()
            self._thread = None
            self._line.close()
            self._theirs.close()

    def join(self) -> Channel:
        """The worker's end of a new session's queue."""
        owner_end, worker_end = Channel.pair()
        session = len(self._ends) + 1
        self._ends[session] = owner_end
        if self._thread is not None:
            self._line.send(Join([session], ["test"]), [owner_end.fileno()])
        return worker_end

    def wait_for_end(self, session: int) -> None:
        """Wait until the owner has ended a session."""

        def heard() -> bool:
            while (received := self._line.receive()) is not None:
                if isinstance(received[0], Ended):
                    self.ended.append(received[0].session)
            return session in self.ended

        until(heard, f"the end of session {session}")

    def close(self) -> None:
        """Give everything back."""
        self.end()
        for end in self._ends.values():
            end.close()
        self.log.close()


@contextmanager
def local_owner() -> Iterator[LocalOwner]:
    """An owner for the length of a block."""
    owner = LocalOwner()
    try:
        yield owner
    finally:
        owner.close()


def encode(command: Any) -> bytes:
    """A command as it travels."""
    return msgspec.msgpack.encode(command)


def decode(raw: msgspec.Raw) -> Any:
    """A result."""
    return msgspec.msgpack.decode(raw)
