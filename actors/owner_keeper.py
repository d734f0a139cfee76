"""What must outlive an owner, held by the supervisor, and the line to the owner that lives."""

from __future__ import annotations

import functools
from collections.abc import Sequence

import msgspec

from actors.channel import Channel
from actors.children import FromChild, OwnerSpec
from actors.control import MAX_FDS, Begin, Ended, FreshLog, Join
from actors.errors import QueueClosed
from actors.owner import OwnerStart
from actors.process import Process
from actors.reactor import Reactor
from actors.session_log import SessionLog

FLUSH_S = 0.01
"""How soon it is tried again to send what the owner's line had no room for."""


class OwnerKeeper:
    """Hands each owner what the one before has left.

    Args:
        spec: The actor.
        reactor: The supervisor's loop.

    Attributes:
        epoch: Number of the present life, or of the last one.
        process: The present life; None between two.
    """

    def __init__(self, spec: OwnerSpec, reactor: Reactor) -> None:
        self._spec = spec
        self._reactor = reactor
        self._log = SessionLog.create()
        self._next_session = 1
        self._ends: dict[int, Channel] = {}
        self.epoch = 0
        self.process: Process[FromChild] | None = None

    # -- the owner's lives -----------------------------------------------------------------------------------

    def next_life(self) -> tuple[bytes, list[int]]:
        """The payload and the descriptors for another owner process."""
        self.epoch += 1
        start = OwnerStart(self._spec.actor, self._spec.options, self.epoch)
        return msgspec.msgpack.encode(start), [self._log.fileno(), *self._spec.fds]

    def begin(self, process: Process[FromChild]) -> None:
        """Tell a new owner which sessions there are."""
        self.process = process
        for sessions in _chunks(list(self._ends), MAX_FDS):
            self.tell(Join(sessions), [self._ends[session].fileno() for session in sessions])
        self.tell(Begin())

    def heard(self, message: Ended | FreshLog, fds: list[int]) -> None:
        """The owner says what has become of what is held here."""
        match message:
            case Ended():
                self._forget(message.session)
            case FreshLog() if fds:
                self._log.close()
                self._log = SessionLog(fds.pop())

    def ended(self) -> None:
        """The owner is dead, and what it said has been heard to the end."""
        self.process = None

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

    def join(self) -> tuple[int, Channel]:
        """A new session; its number and the worker's end of its queue."""
        session = self._next_session
        self._next_session += 1
        owner_end, worker_end = Channel.pair()
        self._ends[session] = owner_end
        self.tell(Join([session]), [owner_end.fileno()])
        return session, worker_end

    def leave(self, session: int) -> None:
        """The process of a session is gone: nothing more may come, not even from a child that it has left behind."""
        if self.process is None:
            self._forget(session)
        elif session in self._ends:
            self._ends[session].hang_up()  # the owner reads what is there, and says `Ended`

    def _forget(self, session: int) -> None:
        channel = self._ends.pop(session, None)
        if channel is not None:
            channel.shutdown()


def _chunks(items: list[int], size: int) -> list[list[int]]:
    return [items[start : start + size] for start in range(0, len(items), size)]
