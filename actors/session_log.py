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

_HEADER = struct.Struct("<II")  # length and CRC-32 of the body


class Record(msgspec.Struct, frozen=True, array_like=True):
    """One turn.

    Attributes:
        turn: Its number.
        answers: Session, number, what the session has acknowledged up to, and the encoded Answer frame.
        changes: Table, key and record (None: deleted) of each change that is not durable.
        ended: The sessions that ended in it.
    """

    turn: int
    answers: list[tuple[int, int, int, bytes]]
    changes: list[tuple[str, Any, Any]]
    ended: list[int]


encode_record = msgspec.msgpack.Encoder().encode
decode_record = msgspec.msgpack.Decoder(Record).decode


class SessionLog:
    """The log as the owner sees it.

    Args:
        fd: The memfd; the log owns the descriptor from now on.
    """

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self.size = os.fstat(fd).st_size

    @classmethod
    def create(cls) -> SessionLog:
        """An empty log in memory of its own."""
        return cls(os.memfd_create("session-log", os.MFD_CLOEXEC))

    def fileno(self) -> int:
        """The descriptor, to be handed to another process."""
        return self._fd

    def append(self, body: bytes) -> None:
        """Add an encoded record."""
        packet = _HEADER.pack(len(body), zlib.crc32(body)) + body
        written = os.pwrite(self._fd, packet, self.size)
        while written < len(packet):  # a memfd takes all at once unless memory is short
            written += os.pwrite(self._fd, packet[written:], self.size + written)
        self.size += len(packet)

    def records(self) -> Iterator[Record]:
        """The whole records in order; a torn tail is cut off."""
        end = 0
        if self.size:
            with mmap.mmap(self._fd, self.size, access=mmap.ACCESS_READ) as view:
                while (body := _body_at(view, end)) is not None:
                    yield decode_record(body)
                    end += _HEADER.size + len(body)
        os.ftruncate(self._fd, end)
        self.size = end

    def close(self) -> None:
        """Close the descriptor; the memory lives while any process holds one."""
        os.close(self._fd)


def _body_at(view: mmap.mmap, start: int) -> bytes | None:
    header_end = start + _HEADER.size
    if header_end > len(view):
        return None
    length, checksum = _HEADER.unpack(view[start:header_end])
    body = view[header_end : header_end + length]
    if not length or len(body) < length or zlib.crc32(body) != checksum:
        return None
    return body
