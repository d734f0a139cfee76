"""The line between the supervisor and each of its processes: short messages that may carry descriptors.

Only the supervisor holds the other end of a child's line, so end-of-file on it means that the supervisor is gone.
"""

from __future__ import annotations

import array
import errno
import os
import socket
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Generic, TypeVar

import msgspec

from actors.errors import UNDECODABLE, MessageInvalid, MessageTooLarge, QueueClosed
from actors.exits import Exit

MAX_FDS = 200
"""Most descriptors in one message; the kernel's limit is 253."""

_MAX_BYTES = 160 * 1024
"""Longest message; a default socket buffer holds it."""

_NO_ROOM = {errno.EAGAIN, errno.ENOBUFS, errno.ETOOMANYREFS}
"""The socket, or the kernel's count of descriptors under way, is full at the moment."""

T = TypeVar("T")


class Start(msgspec.Struct, frozen=True, tag=True):
    """To a new child: who it is. Carries its payload (a memfd), then its queue if it has one, then its own fds.

    Attributes:
        name: Its name in logs and statistics.
        target: `module:function` to call.
        session: Number of its session, 0 if it has none.
        orphaned_by: Signal that the kernel shall send it when the thread that started it is gone; 0 for none.
        attach: The socket by which a process that it forks can join the system; empty if there is none.
    """

    name: str
    target: str
    session: int
    orphaned_by: int = 0
    attach: str = ""


class Join(msgspec.Struct, frozen=True, tag=True):
    """To the owner: these sessions exist. Carries the owner's end of each queue, in the same order.

    Attributes:
        sessions: Their numbers.
        names: The names of their processes.
    """

    sessions: list[int]
    names: list[str]


class Begin(msgspec.Struct, frozen=True, tag=True):
    """To a new owner: all sessions that exist have been named.

    Attributes:
        died: Sessions that the owner before may not have ended, and how their processes did; see `Died`.
        crashed: Session and number of commands that must not be applied again, because they ended an owner.
        more: Another `Begin` with more of these follows, because one message does not hold all.
    """

    died: list[tuple[int, Exit | None]] = []
    crashed: list[tuple[int, int]] = []
    more: bool = False


class Died(msgspec.Struct, frozen=True, tag=True):
    """To the owner: the process of a session is gone.

    Attributes:
        session: Its number.
        exit: How the process ended; None if nobody can know, because the supervisor did not start it.
    """

    session: int
    exit: Exit | None


class Leave(msgspec.Struct, frozen=True, tag=True):
    """To the owner: everybody else has left, finish."""


class Ready(msgspec.Struct, frozen=True, tag=True):
    """From a child: it works."""


class Failed(msgspec.Struct, frozen=True, tag=True):
    """From a child: it cannot work, and why; it ends.

    Attributes:
        reason: Why.
        hopeless: Whether there is no use in starting it again.
    """

    reason: str
    hopeless: bool = False


class Ended(msgspec.Struct, frozen=True, tag=True):
    """From the owner: it has closed this session."""

    session: int


class FreshLog(msgspec.Struct, frozen=True, tag=True):
    """From the owner: the session log is now the one whose descriptor this carries."""


ToChild = Start | Join | Begin | Died | Leave
FromWorker = Ready | Failed
FromOwner = Ready | Failed | Ended | FreshLog


class Control(Generic[T]):
    """One end of a line. Sending never blocks; what does not fit waits for `flush`.

    Args:
        sock: A connected `SOCK_SEQPACKET` socket, owned by this object from now on.
        incoming: The type of the messages that arrive here.
    """

    def __init__(self, sock: socket.socket, incoming: Any) -> None:
        self._sock = sock
        self._encode = msgspec.msgpack.Encoder().encode
        self._decode = msgspec.msgpack.Decoder(incoming).decode
        self._outbox: deque[tuple[bytes, list[int]]] = deque()

    def expect(self, incoming: Any) -> None:
        """From now on, messages of another type arrive here."""
        self._decode = msgspec.msgpack.Decoder(incoming).decode

    def fileno(self) -> int:
        """The descriptor, to wait on."""
        return self._sock.fileno()

    @property
    def blocked(self) -> bool:
        """Whether messages wait for `flush`."""
        return bool(self._outbox)

    def send(self, message: msgspec.Struct, fds: Sequence[int] = ()) -> None:
        """Send a message with duplicates of these descriptors; the caller may close its own at once.

        Raises:
            MessageTooLarge: The message is too long for a control line.
            OSError: There are not enough descriptors; nothing was sent.
            QueueClosed: The other end is gone.
        """
        data = self._encode(message)
        if len(data) > _MAX_BYTES:
            raise MessageTooLarge(len(data), _MAX_BYTES)
        self._outbox.append((data, _duplicate_all(fds)))
        self.flush()

    def flush(self) -> None:
        """Send what waits, as far as the socket takes it.

        Raises:
            QueueClosed: The other end is gone.
        """
        while self._outbox:
            data, fds = self._outbox[0]
            ancillary = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))] if fds else []
            try:
                self._sock.sendmsg([data], ancillary, socket.MSG_DONTWAIT)
            except OSError as error:
                if error.errno in _NO_ROOM:
                    return
                raise QueueClosed(str(error)) from error
            self._outbox.popleft()
            _close_all(fds)

    def receive(self, *, block: bool = False) -> tuple[T, list[int]] | None:
        """The next message and its descriptors, or None when there is none now.

        Raises:
            MessageInvalid: What came is not a message of this line; its descriptors are closed.
            QueueClosed: The other end is gone and everything it sent has been read.
        """
        flags = socket.MSG_CMSG_CLOEXEC | (0 if block else socket.MSG_DONTWAIT)
        fds = array.array("i")
        try:
            # Not `socket.recv_fds`: it does not pass its flags on (CPython 3.11 to 3.13).
            data, ancillary, _, _ = self._sock.recvmsg(_MAX_BYTES, socket.CMSG_LEN(MAX_FDS * fds.itemsize), flags)
        except BlockingIOError:
            return None
        except OSError as error:
            raise QueueClosed(str(error)) from error
        for _, _, descriptors in ancillary:
            fds.frombytes(descriptors)
        if not data:
            _close_all(list(fds))  # an empty packet can carry some, and looks like the end
            msg = "the other end of the control line is gone"
            raise QueueClosed(msg)
        try:
            return self._decode(data), list(fds)
        except UNDECODABLE as error:
            _close_all(list(fds))
            reason = f"not a message of this control line: {error}"
            raise MessageInvalid(reason) from error

    def close(self) -> None:
        """Close this end."""
        while self._outbox:
            _close_all(self._outbox.popleft()[1])
        self._sock.close()


@contextmanager
def payload_fd(payload: bytes) -> Iterator[int]:
    """Bytes of any length as a descriptor to send along with a message; closed here at the end of the block."""
    fd = os.memfd_create("payload", os.MFD_CLOEXEC)
    with os.fdopen(fd, "wb") as file:
        file.write(payload)
        file.flush()
        yield fd


def read_payload(fd: int) -> bytes:
    """The bytes behind a descriptor that arrived with a message; closes it."""
    with os.fdopen(fd, "rb") as file:
        file.seek(0)
        return file.read()


def _duplicate_all(fds: Sequence[int]) -> list[int]:
    duplicates: list[int] = []
    try:
        for fd in fds:
            duplicates.append(os.dup(fd))  # noqa: PERF401 - those made before a failure must be known
    except OSError:
        _close_all(duplicates)
        raise
    return duplicates


def _close_all(fds: list[int]) -> None:
    for fd in fds:
        os.close(fd)
