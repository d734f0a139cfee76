"""The supervisor's door for processes that it did not start; `attach` is what they do outside."""

from __future__ import annotations

import contextlib
import errno
import functools
import logging
import os
import socket
import stat
import struct
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from actors.attach import VERSION, Entered, Knock, TurnedAway, check_length
from actors.channel import Channel
from actors.errors import AttachFailed, MessageInvalid, QueueClosed, SupervisorError
from actors.processes.control import Control
from actors.processes.reactor import Reactor, Timer

logger = logging.getLogger(__name__)

PATIENCE_S = 3.0
"""A connection that has said nothing for so long is closed."""

MAX_WAITING = 32
"""Connections that have said nothing yet; one more closes the oldest of them."""

BACKLOG = 512
"""Connections that may wait to be accepted; whoever is one too many waits."""

ACCEPT_AT_ONCE = 16
"""Connections accepted before the supervisor looks at its other duties."""

PAUSE_S = 0.2
"""How long nobody is let in when there are no descriptors left."""

QUIET_S = 10.0
"""One complaint in so many seconds is enough for the log."""

_SO_PEERPIDFD = 77  # Linux 6.5; Python has no name for it


class Credentials(NamedTuple):
    """Who is at the other end of a connection, as the kernel knows it."""

    pid: int
    uid: int


def peer_credentials(sock: socket.socket) -> Credentials:
    """Who made a connection to a unix socket."""
    pid, uid, _ = struct.unpack("3i", sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i")))
    return Credentials(pid, uid)


def peer_pidfd(sock: socket.socket, pid: int) -> int:
    """The pidfd of the process that made a connection.

    Raises:
        OSError: The process is gone, or in a namespace that cannot be seen from here.
    """
    try:
        fd = sock.getsockopt(socket.SOL_SOCKET, _SO_PEERPIDFD)
    except OSError as error:
        if error.errno != errno.ENOPROTOOPT:
            raise
        return os.pidfd_open(pid)  # an older kernel: its number may have been given to another process meanwhile
    os.set_inheritable(fd, False)
    return fd


class _Visitor:
    """A process at the other end of a connection; one without a session has said nothing yet."""

    def __init__(self, sock: socket.socket, pid: int) -> None:
        self.sock = sock
        self.pid = pid
        self.line: Control[Knock] = Control(sock, Knock)
        self.pidfd = -1
        self.session = 0
        self.gone = False
        self.limit: Timer | None = None


class AttachListener:
    """The supervisor's side: lets processes in, and tells when they are gone.

    Args:
        path: Where the socket shall be. What a dead system has left there is replaced: whoever makes a listener
            must hold the directory's lock.
        reactor: The supervisor's loop.
        join: Makes a session for a process id: its number and the worker's end of its queue; may raise
            `SupervisorError`.
        leave: Is told that the process of a session is gone.
        credentials: Who made a connection.

    Raises:
        AttachFailed: There can be no socket at that path; the text says why.
    """

    def __init__(
        self,
        path: str,
        reactor: Reactor,
        join: Callable[[int], tuple[int, Channel]],
        leave: Callable[[int], None],
        credentials: Callable[[socket.socket], Credentials] = peer_credentials,
    ) -> None:
        self._path = path
        self._reactor = reactor
        self._join = join
        self._leave = leave
        self._credentials = credentials
        self._closing: str | None = None
        self._waiting: dict[_Visitor, None] = {}
        self._attached: set[_Visitor] = set()
        self._pause: Timer | None = None
        self._quiet = False
        self._listening = _listen(path)
        reactor.watch(self._listening.fileno(), self._accept)

    @property
    def let_in(self) -> int:
        """How many processes have joined and not left."""
        return len(self._attached)

    def refuse(self, reason: str) -> None:
        """From now on nobody is let in, and is told this reason."""
        self._closing = reason

    def close(self) -> None:
        """Remove the socket. The sessions are the supervisor's to end."""
        self._leave = lambda _: None
        if self._pause is not None:
            self._pause.cancel()
        self._reactor.forget(self._listening.fileno())
        self._listening.close()
        with contextlib.suppress(OSError):  # a temporary directory may be gone already
            Path(self._path).unlink()
        for visitor in [*self._waiting, *self._attached]:
            self._dismiss(visitor)

    # -- letting in ------------------------------------------------------------------------------------------

    def _accept(self) -> None:
        for _ in range(ACCEPT_AT_ONCE):
            try:
                sock, _ = self._listening.accept()
            except BlockingIOError:
                return
            except OSError as error:
                logger.warning("cannot take a connection at the moment: %s", error.strerror)
                self._reactor.forget(self._listening.fileno())
                self._pause = self._reactor.after(PAUSE_S, self._go_on)
                return
            self._arrive(sock)

    def _go_on(self) -> None:
        self._pause = None
        self._reactor.watch(self._listening.fileno(), self._accept)

    def _arrive(self, sock: socket.socket) -> None:
        pid, uid = self._credentials(sock)
        visitor = _Visitor(sock, pid)
        if uid not in {os.geteuid(), 0}:
            self._complain(f"process {pid} of user {uid} was not let in")
            self._turn_away(visitor, f"it belongs to user {os.geteuid()}, and this process to user {uid}")
            return
        if len(self._waiting) >= MAX_WAITING:
            self._dismiss(next(iter(self._waiting)))
        self._waiting[visitor] = None
        self._reactor.watch(sock.fileno(), functools.partial(self._hear, visitor))
        self._hear(visitor)  # mostly it has spoken already
        if visitor in self._waiting:
            visitor.limit = self._reactor.after(PATIENCE_S, functools.partial(self._dismiss, visitor))

    def _hear(self, visitor: _Visitor) -> None:
        try:
            received = visitor.line.receive()
        except MessageInvalid as error:
            self._complain(f"process {visitor.pid}: {error}")
            self._turn_away(visitor, "it did not understand what this process said")
            return
        except QueueClosed:
            self._dismiss(visitor)
            return
        if received is None:
            return
        message, fds = received
        for fd in fds:
            os.close(fd)
        if visitor.session:
            self._complain(f"process {visitor.pid} spoke out of turn, so its session ends")
            self._dismiss(visitor)
        else:
            self._admit(visitor, message)

    def _admit(self, visitor: _Visitor, message: Knock) -> None:
        refusal = self._closing
        if message.version != VERSION:
            refusal = f"it speaks version {VERSION} of the protocol, and this process version {message.version}"
        if refusal is not None:
            self._turn_away(visitor, refusal)
            return
        try:
            visitor.pidfd = peer_pidfd(visitor.sock, visitor.pid)
            session, channel = self._join(visitor.pid)
        except OSError as error:
            self._turn_away(visitor, f"it cannot at the moment: {error.strerror}")
            return
        except SupervisorError as error:
            self._turn_away(visitor, str(error))
            return
        self._let_in(visitor, session, channel)

    def _let_in(self, visitor: _Visitor, session: int, channel: Channel) -> None:
        visitor.session = session
        self._waiting.pop(visitor, None)
        if visitor.limit is not None:
            visitor.limit.cancel()
        self._attached.add(visitor)
        self._reactor.watch(visitor.pidfd, functools.partial(self._dismiss, visitor))
        logger.info("process %d has joined (session %d)", visitor.pid, session)
        try:
            visitor.line.send(Entered(session), [channel.fileno()])
        except QueueClosed:
            self._dismiss(visitor)
            return
        finally:
            channel.close()
        self._flush(visitor)

    def _flush(self, visitor: _Visitor) -> None:
        """Try again as long as the kernel has too many descriptors under way."""
        if visitor.gone:
            return
        try:
            visitor.line.flush()
        except QueueClosed:
            return  # its end-of-file tells
        if visitor.line.blocked:
            self._reactor.after(0.01, functools.partial(self._flush, visitor))

    # -- sending away ----------------------------------------------------------------------------------------

    def _turn_away(self, visitor: _Visitor, reason: str) -> None:
        with contextlib.suppress(QueueClosed):
            visitor.line.send(TurnedAway(reason))
        self._dismiss(visitor)

    def _dismiss(self, visitor: _Visitor) -> None:
        """Close the connection, and end the session if there is one."""
        if visitor.gone:
            return
        visitor.gone = True
        self._waiting.pop(visitor, None)
        self._attached.discard(visitor)
        if visitor.limit is not None:
            visitor.limit.cancel()
        self._reactor.forget(visitor.sock.fileno())
        visitor.line.close()
        if visitor.pidfd >= 0:
            self._reactor.forget(visitor.pidfd)
            os.close(visitor.pidfd)
        if visitor.session:
            logger.info("process %d has left (session %d)", visitor.pid, visitor.session)
            self._leave(visitor.session)

    def _complain(self, text: str) -> None:
        if not self._quiet:
            logger.warning(text)
            self._quiet = True
            self._reactor.after(QUIET_S, self._speak_again)

    def _speak_again(self) -> None:
        self._quiet = False


def _listen(path: str) -> socket.socket:
    check_length(path)
    listening = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    try:
        with contextlib.suppress(FileNotFoundError):
            if stat.S_ISSOCK(os.lstat(path).st_mode):
                Path(path).unlink()
        before = os.umask(0o177)  # from its first moment nobody else may connect
        try:
            listening.bind(path)
        finally:
            os.umask(before)
        listening.listen(BACKLOG)
    except OSError as error:
        listening.close()
        raise AttachFailed(f"there can be no socket at {path}: {error.strerror}") from None
    listening.setblocking(False)
    return listening
