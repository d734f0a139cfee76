"""What must outlive an owner, held by the supervisor, and the line to the owner that lives."""

from __future__ import annotations

import functools
import os
from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from typing import TypeVar

import msgspec

from actors.channel import Channel
from actors.errors import QueueClosed
from actors.exits import Exit
from actors.owner import OwnerStart
from actors.processes.children import FromChild, OwnerSpec
from actors.processes.control import Begin, Died, Ended, FreshLog, Join
from actors.processes.process import Process
from actors.processes.reactor import Reactor
from actors.processes.suspects import Suspects
from actors.pulse import Pulse
from actors.session_log import SessionLog

FLUSH_S = 0.01
"""How soon it is tried again to send what the owner's line had no room for."""

JOINED_AT_ONCE = 32
"""So many sessions are named in a message to a new owner: few, because each is a descriptor more until it is sent."""

BEGUN_AT_ONCE = 1_500
"""So many deaths, and so many commands, are named in one `Begin`; a message of the line holds more than that."""

T = TypeVar("T")


class OwnerKeeper:
    """Hands each owner what the one before has left.

    Args:
        spec: The actor.
        reactor: The supervisor's loop.

    Attributes:
        epoch: Number of the present life, or of the last one.
        process: The present life; None between two.
        pulse: Where each owner shows that it works, and at what.
    """

    def __init__(self, spec: OwnerSpec, reactor: Reactor) -> None:
        self._spec = spec
        self._reactor = reactor
        self._log = SessionLog.create()
        self._next_session = 1
        self._ends: dict[int, Channel] = {}
        # How processes ended, until an owner has surely heard of it.
        self._died: dict[int, Exit | None] = {}
        self._told: list[int] = []
        self._suspects = Suspects()
        self.pulse = Pulse.create()
        self.epoch = 0
        self.process: Process[FromChild] | None = None

    # -- the owner's lives -----------------------------------------------------------------------------------

    def next_life(self) -> tuple[bytes, list[int]]:
        """The payload and the descriptors for another owner process."""
        self.epoch += 1
        self.pulse.clear()
        start = OwnerStart(self._spec.actor, self._spec.options, self.epoch)
        return msgspec.msgpack.encode(start), [self._log.fileno(), self.pulse.fileno(), *self._spec.fds]

    def begin(self, process: Process[FromChild]) -> None:
        """Tell a new owner which sessions there are, which have died, and what it must not do.

        Raises:
            OSError: There are not enough descriptors.
        """
        self.process = process
        for sessions in _chunks(list(self._ends), JOINED_AT_ONCE):
            self.tell(Join(sessions), [self._ends[session].fileno() for session in sessions])
        self._told = list(self._died)
        died = _chunks(list(self._died.items()), BEGUN_AT_ONCE)
        crashed = _chunks(self._suspects.crashed, BEGUN_AT_ONCE)
        last = max(len(died), len(crashed), 1) - 1
        for at in range(last + 1):
            self.tell(Begin(_at(died, at), _at(crashed, at), more=at < last))

    def works(self) -> None:
        """The owner is ready, so it has ended the sessions that it was told of and was not handed."""
        for session in self._told:
            if session not in self._ends:
                self._died.pop(session, None)
        self._told = []

    def heard(self, message: Ended | FreshLog, fds: list[int]) -> None:
        """The owner says what has become of what is held here."""
        match message:
            case Ended():
                self._forget(message.session)
            case FreshLog() if fds:
                self._log.close()
                self._log = SessionLog(fds.pop())

    def ended(self, end: Exit, *, ours: bool) -> bool:
        """The owner is dead, and what it said has been heard to the end.

        Args:
            end: How it ended.
            ours: The supervisor has killed it.

        Returns:
            Whether it was at work on a command, which is to blame.
        """
        self.process = None
        return self._suspects.judge(self.pulse.marked, end, ours=ours)

    def tell(self, message: msgspec.Struct, fds: Sequence[int] = ()) -> None:
        """Send the owner a message, if there is one; the next one is told everything when it starts."""
        process = self.process
        if process is None:
            return
        try:
            process.control.send(message, fds)
        except QueueClosed:
            return  # it is dying; its pidfd will tell
        self._flush_later(process)

    def close(self) -> None:
        """End everything that was held."""
        for session in list(self._ends):
            self._forget(session)
        self._log.close()
        self.pulse.close()

    def _flush_later(self, process: Process[FromChild]) -> None:
        if process.control.blocked:
            self._reactor.after(FLUSH_S, functools.partial(self._flush, process))

    def _flush(self, process: Process[FromChild]) -> None:
        if self.process is not process:
            return
        try:
            process.control.flush()
        except QueueClosed:
            return
        self._flush_later(process)

    # -- the sessions ----------------------------------------------------------------------------------------

    @property
    def sessions(self) -> AbstractSet[int]:
        """The sessions that there are."""
        return self._ends.keys()

    @property
    def blamed(self) -> int:
        """How many commands have ended an owner."""
        return self._suspects.blamed

    @property
    def log_memory_bytes(self) -> int:
        """Memory set aside for the session log; see `SupervisorStatistics`."""
        return os.fstat(self._log.fileno()).st_size

    def join(self) -> tuple[int, Channel]:
        """A new session; its number and the worker's end of its queue.

        Raises:
            OSError: There are not enough descriptors; nothing was changed.
        """
        session = self._next_session
        self._next_session += 1
        owner_end, worker_end = Channel.pair()
        try:
            self.tell(Join([session]), [owner_end.fileno()])
        except OSError:
            owner_end.close()
            worker_end.close()
            raise
        self._ends[session] = owner_end
        return session, worker_end

    def leave(self, session: int, exit: Exit | None) -> None:
        """The process of a session is gone: nothing more may come, not even from a child that it has left behind.

        Args:
            session: Its number.
            exit: How its process ended; None if nobody knows.
        """
        if session not in self._ends:
            return
        self._died[session] = exit
        if self.process is None:
            self._close(session)
            return
        # The reason goes ahead of the end-of-file, so that the owner has it when it ends the session.
        self.tell(Died(session, exit))
        self._ends[session].hang_up()  # the owner reads what is there, and says `Ended`

    def _forget(self, session: int) -> None:
        self._died.pop(session, None)
        self._close(session)

    def _close(self, session: int) -> None:
        self._suspects.forget(session)
        channel = self._ends.pop(session, None)
        if channel is not None:
            channel.shutdown()


def _at(chunks: list[list[T]], number: int) -> list[T]:
    return chunks[number] if number < len(chunks) else []


def _chunks(items: list[T], size: int) -> list[list[T]]:
    return [items[start : start + size] for start in range(0, len(items), size)]
