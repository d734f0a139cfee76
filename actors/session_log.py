"""What must outlive an owner process but not the machine, in memory that the supervisor holds.

The log is a memfd made by the supervisor and written by the owner alone: one record a turn, before the turn's answers
leave. A record has a length and a checksum; one that a dying owner did not finish was never answered and is dropped.
"""

from __future__ import annotations

import mmap
import os
import struct
import zlib
from collections.abc import Iterator
from typing import Any

import msgspec

from actors.ranges import Range

GROWTH_BYTES = 1024 * 1024
"""How much room a log gets at a time."""

_HEADER = struct.Struct("<II")  # length and CRC-32 of the body


class Record(msgspec.Struct, frozen=True, array_like=True):
    """One turn.

    Attributes:
        turn: Its number.
        answers: Session, number, what the session has acknowledged up to, and the encoded Answer frame.
        changes: For each thing that was done: table, key and record (None: deleted) of what is not durable.
        ended: The sessions that ended in it.
        sessions: The sessions that have begun in it; in a snapshot all, with the numbers they have acknowledged.
    """

    turn: int
    answers: list[tuple[int, int, int, bytes]]
    changes: list[list[tuple[str, Any, Any]]]
    ended: list[int]
    sessions: list[tuple[int, list[Range]]] = []


encode_record = msgspec.msgpack.Encoder().encode
decode_record = msgspec.msgpack.Decoder(Record).decode


class SessionLog:
    """The log as its writer sees it: mapped memory, so that a record costs a copy and no system call.

    A write to a shared mapping is in the memfd at once and stays there whatever becomes of the process.

    Args:
        fd: The memfd; the log owns the descriptor from now on.

    Attributes:
        size: Bytes written so far.
    """

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._capacity = os.fstat(fd).st_size
        if not self._capacity:
            self._capacity = GROWTH_BYTES
            os.ftruncate(fd, self._capacity)
        self._map = mmap.mmap(fd, self._capacity)
        self.size = 0
        self._end = self._capacity - _HEADER.size

    @classmethod
    def create(cls) -> SessionLog:
        """An empty log in memory of its own."""
        return cls(os.memfd_create("session-log", os.MFD_CLOEXEC))

    def fileno(self) -> int:
        """The descriptor, to be handed to another process."""
        return self._fd

    def append(self, body: bytes) -> None:
        """Add an encoded record."""
        start = self.size
        end = start + _HEADER.size + len(body)
        if end > self._end:
            self._grow(end)
        # In whatever order a dying process managed to write this, the checksum tells whether all of it is there.
        self._map[start:end] = _HEADER.pack(len(body), zlib.crc32(body)) + body
        self.size = end

    def records(self) -> Iterator[Record]:
        """The whole records from the beginning; what follows the last whole one is wiped."""
        self.size = 0
        while (body := _body_at(self._map, self.size)) is not None:
            self.size += _HEADER.size + len(body)
            yield decode_record(body)
        # What a dying owner left half-written must not be read after a later, shorter record.
        self._map[self.size :] = bytes(self._capacity - self.size)

    def close(self) -> None:
        """Close the descriptor, if that was not done before; the memory lives while any process holds one."""
        if not self._map.closed:
            self._map.close()
            os.close(self._fd)

    def _grow(self, end: int) -> None:
        self._capacity = end + GROWTH_BYTES
        self._map.resize(self._capacity)  # and with it the memfd
        self._end = self._capacity - _HEADER.size


def _body_at(view: mmap.mmap, start: int) -> bytes | None:
    body_start = start + _HEADER.size
    if body_start > len(view):
        return None
    length, checksum = _HEADER.unpack(view[start:body_start])
    body = view[body_start : body_start + length]
    if not length or len(body) < length or zlib.crc32(body) != checksum:
        return None
    return body
