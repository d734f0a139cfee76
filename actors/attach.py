"""How a process that the supervisor did not start joins the system: a knock on a unix socket, and a queue in return.

The connection stays open as long as the session; its end, or the end of the process, is the session's.
"""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import stat
import struct
from collections.abc import Iterator
from pathlib import Path

import msgspec

from actors.channel import Channel
from actors.errors import AttachFailed, MessageInvalid, QueueClosed
from actors.processes.control import Control

VERSION = 1
"""Of what is said here and on the queue afterwards."""

MAX_PATH_BYTES = 107
"""Longest path of a unix socket; the kernel's field has 108 bytes, one of which ends it."""

TIMEOUT_S = 5.0
"""How long to wait for an answer; the supervisor gives it within a millisecond."""

ATTEMPTS = 5
"""A connection that is closed before an answer is tried again, so often in all: it may have stood in a crowd."""


class Knock(msgspec.Struct, frozen=True, tag=True, forbid_unknown_fields=True):
    """To the supervisor: let me in.

    Attributes:
        version: Of the protocol that the process speaks.
    """

    version: int


class Entered(msgspec.Struct, frozen=True, tag=True):
    """To the process: you have a session. Carries its end of the queue."""

    session: int


class TurnedAway(msgspec.Struct, frozen=True, tag=True):
    """To the process: you have none, and why."""

    reason: str


class AttachedChannel(Channel):
    """A queue's end, together with the connection that stands for this process with the supervisor.

    Args:
        sock: See `Channel`.
        line: The connection; the channel owns it from now on.
    """

    __slots__ = ("_line",)

    def __init__(self, sock: socket.socket, line: socket.socket) -> None:
        super().__init__(sock)
        self._line = line

    def hang_up(self) -> None:
        """End the conversation, and the connection too, for every process that holds a duplicate of them."""
        super().hang_up()
        with contextlib.suppress(OSError):
            self._line.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Close this process's descriptors only."""
        super().close()
        self._line.close()


def attach(path: str | Path, timeout_s: float = TIMEOUT_S) -> Channel:
    """Join the system whose socket this is; the worker's end of the new session's queue.

    Args:
        path: The socket.
        timeout_s: Longest wait for an answer in seconds, if less than `TIMEOUT_S`.

    Raises:
        AttachFailed: There is no running system at that place, or it refused; the text says which.
    """
    place = os.fspath(path)
    check_length(place)
    timeout_s = min(timeout_s, TIMEOUT_S)
    for _ in range(ATTEMPTS):
        with _reasons(place):
            channel = _knock(place, timeout_s)
        if channel is not None:
            return channel
    raise AttachFailed(f"{place} closes every connection without an answer: it is no system's socket, or crowded")


def check_length(place: str) -> None:
    """Raise `AttachFailed` if a socket cannot have this path."""
    if "\0" in place:
        raise AttachFailed(f"the path {place!r} has a null character, which no path may have")
    length = len(os.fsencode(place))
    if length > MAX_PATH_BYTES:
        raise AttachFailed(
            f"the path {place} has {length} bytes, and that of a unix socket may have {MAX_PATH_BYTES};"
            " use a data directory with a shorter path"
        )


def _knock(place: str, timeout_s: float) -> Channel | None:
    """One attempt; None if the connection was closed without an answer."""
    if not stat.S_ISSOCK(Path(place).stat().st_mode):
        raise AttachFailed(f"{place} is not a socket; name a data directory, or the socket in it")
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with contextlib.ExitStack() as undo:
        undo.callback(sock.close)
        # Not `settimeout`: it would make a full backlog an error at once instead of waiting for room.
        wait = struct.pack("@qq", *divmod(max(1, round(timeout_s * 1e6)), 1_000_000))
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, wait)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, wait)
        sock.connect(place)
        line: Control[Entered | TurnedAway] = Control(sock, Entered | TurnedAway)
        with contextlib.suppress(QueueClosed):  # a refusal may be there all the same
            line.send(Knock(VERSION))
        received = _answer(line, place, timeout_s)
        if received is None:
            return None
        answer, fds = received
        if isinstance(answer, TurnedAway):
            raise AttachFailed(f"the system at {place} did not let this process in: {answer.reason}")
        undo.pop_all()
    return AttachedChannel(socket.socket(fileno=fds[0]), sock)


def _answer(
    line: Control[Entered | TurnedAway], place: str, timeout_s: float
) -> tuple[Entered | TurnedAway, list[int]] | None:
    for _ in range(2):  # a reset connection is reported once before what can still be read
        try:
            received = line.receive(block=True)
        except QueueClosed:
            continue
        if received is None:
            raise AttachFailed(f"the system at {place} gave no answer within {timeout_s:g} s")
        answer, fds = received
        if isinstance(answer, Entered) is not (len(fds) == 1):
            for fd in fds:
                os.close(fd)
            raise MessageInvalid("an answer with the wrong number of descriptors")
        return received
    return None


_REASONS = {
    errno.ENOENT: "there is no system at {}: nothing has that path; is it running, and is this its data directory?",
    errno.ENOTDIR: "there is no system at {}: a part of the path is not a directory",
    errno.ECONNREFUSED: "the system at {} has ended: nobody listens on its socket; start it again",
    errno.EACCES: "no permission to join the system at {}: it belongs to another user",
    errno.EPROTOTYPE: "{} is another program's socket, not a system's",
    errno.EAGAIN: "the system at {} did not take the connection in time",
}


@contextlib.contextmanager
def _reasons(place: str) -> Iterator[None]:
    """Say in a sentence what was wrong."""
    try:
        yield
    except MessageInvalid:
        raise AttachFailed(f"{place} is another program's socket, not a system's") from None
    except OSError as error:
        sentence = _REASONS.get(error.errno or 0, "cannot join the system at {}: " + str(error.strerror))
        raise AttachFailed(sentence.format(place)) from None
