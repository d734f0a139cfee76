"""The line between the supervisor and a process: what comes with descriptors, and what becomes of those."""

import array
import os
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from actors.errors import MessageInvalid, MessageTooLarge, QueueClosed
from actors.processes.control import MAX_FDS, Control, Failed, FromWorker, Join, Ready, ToChild


@pytest.fixture
def ends() -> Iterator[tuple[socket.socket, Control[Any]]]:
    """A line: the bare socket of one side, and the other side."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    line: Control[Any] = Control(theirs, ToChild)
    yield ours, line
    ours.close()
    line.close()


def open_descriptors() -> int:
    """How many this process has."""
    return len(list(Path("/proc/self/fd").iterdir()))


def send(sock: socket.socket, data: bytes, fds: int) -> None:
    """A packet with so many descriptors, which are this process's no more."""
    with Path(os.devnull).open("rb") as file:
        sock.sendmsg([data], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [file.fileno()] * fds))])


@pytest.mark.parametrize(("data", "error"), [(b"", QueueClosed), (b"garbage", MessageInvalid)])
@pytest.mark.parametrize("fds", [1, MAX_FDS])
def test_descriptors_that_come_with_nothing_sensible_are_closed(
    ends: tuple[socket.socket, Control[Any]], data: bytes, error: type[Exception], fds: int
) -> None:
    """Also those of an empty packet, which looks like the end of the line."""
    ours, line = ends
    before = open_descriptors()
    send(ours, data, fds)
    with pytest.raises(error):
        line.receive()
    assert open_descriptors() == before


def test_no_more_descriptors_arrive_than_a_message_may_have(ends: tuple[socket.socket, Control[Any]]) -> None:
    """The kernel closes those for which there is no room."""
    ours, line = ends
    before = open_descriptors()
    send(ours, msgspec.msgpack.encode(Join([1])), MAX_FDS + 50)
    received = line.receive()
    assert received is not None
    assert MAX_FDS <= len(received[1]) <= MAX_FDS + 1  # the room for them is counted in pairs
    assert open_descriptors() == before + len(received[1])
    for fd in received[1]:
        os.close(fd)


def test_what_was_not_sent_is_closed_with_the_line(ends: tuple[socket.socket, Control[Any]]) -> None:
    """A line that its reader has left full keeps duplicates only as long as it is open."""
    ours, line = ends
    before = open_descriptors()
    while not line.blocked:
        line.send(Ready(), [ours.fileno()])
    line.send(Ready(), [ours.fileno()])
    assert open_descriptors() == before + 2
    line.close()
    assert open_descriptors() == before - 1


def test_a_message_that_cannot_be_sent_keeps_no_descriptor(ends: tuple[socket.socket, Control[Any]]) -> None:
    """Neither one that is too long, nor one with a descriptor that does not exist."""
    ours, line = ends
    before = open_descriptors()
    with pytest.raises(MessageTooLarge):
        line.send(Failed("x" * 200_000), [ours.fileno()])
    with pytest.raises(OSError, match="Bad file descriptor"):
        line.send(Ready(), [ours.fileno(), ours.fileno(), 1_000_000])
    assert (open_descriptors(), line.blocked) == (before, False)
    line.send(Ready())
    other: Control[FromWorker] = Control(ours, FromWorker)
    assert other.receive() == (Ready(), [])
