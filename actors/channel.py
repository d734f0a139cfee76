"""Whole messages of bytes over one end of an `AF_UNIX` `SOCK_SEQPACKET` socket pair. Nothing here ever blocks.

A packet is one flag byte and a part of a message. The kernel keeps packets apart, so a reader never sees half of
one; a message in several packets is put together here, and a first part throws away a message that its writer did
not finish. Parts are odd and even in turn: a writer that was interrupted between sending a part and noting that it was
sent sends it again, and the reader drops the second one.
"""

from __future__ import annotations

import contextlib
import errno
import socket
import struct
from collections import deque
from collections.abc import Callable, Iterable
from typing import Self

from actors.errors import MessageTooLarge, QueueClosed
from actors.statistics import QueueStatistics

DEFAULT_LIMIT = 16 * 1024 * 1024
"""Longest message in bytes, unless the queue was made with another limit."""

PART_BYTES = 60 * 1024
"""Longest part of a message in one packet: three fit a default socket buffer (212,992 bytes)."""

UPDATE_BYTES = 1024 * 1024
"""While more than this waits to be sent, updates are dropped; see `Channel.offer`."""

LONGEST_WAIT_S = 0.2
"""How long `wait_and_receive` waits at most; whoever has a nearer deadline waits by other means."""

_LONGEST_WAIT = struct.pack("@qq", 0, round(LONGEST_WAIT_S * 1e6))
_DONTWAIT = socket.MSG_DONTWAIT
_MAY_WAIT = 0

_FIRST = 1
_LAST = 2
_ODD = 4
_WHOLE = bytes([_FIRST | _LAST])

_NO_MEMORY = {errno.ENOBUFS, errno.ENOMEM}
"""The kernel has no memory for a packet at the moment: no room now, as when the socket is full."""

_ORDINARY, _UPDATE, _RESYNC = range(3)

_Outbox = deque[tuple[bytes, int]]
"""Packets that wait for room, each with the kind of its message."""


class Channel:
    """One end of a two-way channel between two processes; each end belongs to one process.

    Args:
        sock: A connected `SOCK_SEQPACKET` socket; the channel owns it from now on.
        limit: Longest message in bytes, checked where it is sent and where it arrives.
        update_bytes: While more than this waits to be sent, updates are dropped; see `offer`.
    """

    __slots__ = (
        "_assembling",
        "_assembling_bytes",
        "_dropped",
        "_outbox",
        "_received",
        "_received_bytes",
        "_recv",
        "_resync_waits",
        "_resyncs",
        "_send_packet",
        "_sent",
        "_sent_bytes",
        "_sock",
        "_update_bytes",
        "limit",
        "unsent_bytes",
    )

    def __init__(self, sock: socket.socket, limit: int = DEFAULT_LIMIT, update_bytes: int = UPDATE_BYTES) -> None:
        sock.setblocking(True)  # each operation says for itself whether it may wait
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, _LONGEST_WAIT)
        self._sock = sock
        self._recv = sock.recv
        self._send_packet = sock.send
        self.limit = limit
        self._assembling: list[bytes] | None = None
        self._assembling_bytes = 0
        self._outbox: _Outbox = deque()
        self.unsent_bytes = 0
        self._update_bytes = update_bytes
        self._resync_waits = False
        self._sent = self._sent_bytes = self._received = self._received_bytes = self._resyncs = self._dropped = 0

    @classmethod
    def pair(cls, limit: int = DEFAULT_LIMIT) -> tuple[Self, Self]:
        """Two connected ends."""
        left, right = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        return cls(left, limit), cls(right, limit)

    @classmethod
    def from_fd(cls, fd: int, limit: int = DEFAULT_LIMIT) -> Self:
        """The end that a descriptor stands for; the channel owns the descriptor from now on."""
        return cls(socket.socket(fileno=fd), limit)

    def fileno(self) -> int:
        """The descriptor, to wait on; -1 once closed."""
        return self._sock.fileno()

    def statistics(self) -> QueueStatistics:
        """What has passed through this end."""
        return QueueStatistics(
            self._sent,
            self._sent_bytes,
            self._received,
            self._received_bytes,
            self.unsent_bytes,
            self._resyncs,
            self._dropped,
        )

    # -- sending ---------------------------------------------------------------------------------------------

    def post(self, message: bytes) -> None:
        """Send a message, or keep what the socket does not take now until `flush`.

        Raises:
            MessageTooLarge: The message is over the limit; nothing was sent.
            QueueClosed: The other end is gone.
        """
        size = len(message)
        if size <= PART_BYTES and size <= self.limit:
            packet = _WHOLE + message
            if self._outbox or not self._send(packet):
                self._keep(packet, _ORDINARY)
        else:
            self.check_size(size)
            self._send_or_keep(message, _ORDINARY)
        self._sent += 1
        self._sent_bytes += size

    def offer(self, message: bytes, resync: bytes) -> bool:
        """Send an update: a message that a slow reader can do without, because it may ask for everything anew.

        If more than `update_bytes` wait to be sent, the updates among them are dropped, and this one too, but for one
        whose first part has already left. In the place of the first of them stands one `resync`, so no message that
        was posted after an update is read before the news that the update is gone. Until that news has left, further
        updates are dropped. Posted messages are never dropped and keep their order.

        Args:
            message: The update.
            resync: What tells the reader that updates are missing. It has them all when it has the answer to a
                question for everything that it sent after the last resync; an answer to an earlier one is not enough.

        Returns:
            Whether the update was sent or waits to be sent; it may still be dropped for a later one.

        Raises:
            MessageTooLarge: The update or the resync is over the limit; nothing was sent or dropped.
            QueueClosed: The other end is gone.
        """
        self.check_size(len(message))
        self.check_size(len(resync))
        if self._outbox:
            self.flush()
        if self._resync_waits or self.unsent_bytes > self._update_bytes:
            self._dropped += 1
            if not self._resync_waits:
                self._replace_updates(resync)
            return False
        self._send_or_keep(message, _UPDATE)
        self._sent += 1
        self._sent_bytes += len(message)
        return True

    def check_size(self, size: int) -> None:
        """Raise `MessageTooLarge` if a message of that many bytes is over the limit."""
        if size > self.limit:
            raise MessageTooLarge(size, self.limit)

    def post_all(self, next_message: Callable[[], bytes | None]) -> bool:
        """Post what a source gives until it gives None; whether some of it still waits for room."""
        while (message := next_message()) is not None:
            self.post(message)
        return self.unsent_bytes > 0 and not self.flush()

    def flush(self) -> bool:
        """Send what was kept; True when nothing is left.

        Raises:
            QueueClosed: The other end is gone.
        """
        outbox = self._outbox
        while outbox:
            packet, kind = outbox[0]
            if not self._send(packet):
                return False
            outbox.popleft()
            self.unsent_bytes -= len(packet)
            if kind == _RESYNC and packet[0] & _LAST:
                self._resync_waits = False
        return True

    def forget_unsent(self) -> None:
        """Drop what was kept. A message of which a part was sent never arrives: the next one displaces it."""
        self._discount(packet for packet, _ in self._outbox)
        self._outbox.clear()
        self.unsent_bytes = 0
        self._resync_waits = False

    def _send_or_keep(self, message: bytes, kind: int) -> None:
        for packet in _packets(message):
            if self._outbox or not self._send(packet):
                self._keep(packet, kind)

    def _keep(self, packet: bytes, kind: int) -> None:
        self._outbox.append((packet, kind))
        self.unsent_bytes += len(packet)

    def _replace_updates(self, resync: bytes) -> None:
        """Drop the updates that wait and put one resync in the place of the first, or at the end if there is none."""
        waiting: _Outbox = deque()
        dropped: list[bytes] = []
        news = [(packet, _RESYNC) for packet in _packets(resync)]
        begun = not self._outbox[0][0][0] & _FIRST
        for packet, kind in self._outbox:
            if kind == _UPDATE and not begun:
                if not dropped:
                    waiting.extend(news)
                dropped.append(packet)
            else:
                waiting.append((packet, kind))
            if packet[0] & _LAST:
                begun = False
        if not dropped:
            waiting.extend(news)
        self._outbox = waiting
        self._resync_waits = True
        self.unsent_bytes = sum(len(packet) for packet, _ in waiting)
        self._resyncs += 1
        self._dropped += self._discount(dropped)
        self._sent += 1
        self._sent_bytes += len(resync)

    def _discount(self, packets: Iterable[bytes]) -> int:
        """Count packets as not sent; returns how many messages ended with one of them."""
        messages = 0
        for packet in packets:
            messages += bool(packet[0] & _LAST)
            self._sent_bytes -= len(packet) - 1
        self._sent -= messages
        return messages

    def _send(self, packet: bytes) -> bool:
        try:
            self._send_packet(packet, _DONTWAIT)
        except BlockingIOError:
            return False
        except OSError as error:
            if error.errno in _NO_MEMORY:
                return False
            msg = f"the other end of the queue is gone ({error.strerror})"
            raise QueueClosed(msg) from error
        return True

    # -- receiving -------------------------------------------------------------------------------------------

    def wait_and_receive(self) -> bytes | None:
        """The next message, or None when there was none for `LONGEST_WAIT_S`: one system call instead of two.

        Raises:
            QueueClosed: The other end is gone and everything it sent has been read.
            MessageTooLarge: The parts of a message add up to more than the limit; the message is dropped.
        """
        return self.receive(_MAY_WAIT)

    def receive(self, flags: int = _DONTWAIT) -> bytes | None:
        """The next message, or None when there is none now.

        Args:
            flags: How the socket is read.

        Raises:
            QueueClosed: The other end is gone and everything it sent has been read.
            MessageTooLarge: The parts of a message add up to more than the limit; the message is dropped.
        """
        while True:
            try:
                packet = self._recv(PART_BYTES + 1, flags)
            except BlockingIOError:
                return None
            except ConnectionResetError:
                # The peer closed with unread data of ours: reported once, before frames that can still be read.
                continue
            except OSError as error:
                raise QueueClosed(str(error)) from error
            if not packet:
                msg = "the other end of the queue is gone"
                raise QueueClosed(msg)
            parts = packet[0]
            if parts == _FIRST | _LAST:
                self._assembling = None
                self._received += 1
                self._received_bytes += len(packet) - 1
                return packet[1:]
            message = self._assemble(parts, packet)
            if message is not None:
                self._received += 1
                self._received_bytes += len(message)
                return message

    def drop_partial(self) -> None:
        """Forget a message of which only some parts have arrived."""
        self._assembling = None
        self._assembling_bytes = 0

    def _assemble(self, flags: int, packet: bytes) -> bytes | None:
        if flags & _FIRST:
            self._assembling = []
            self._assembling_bytes = 0
        if self._assembling is None:  # the rest of a message that was dropped
            return None
        if bool(flags & _ODD) != len(self._assembling) % 2:  # the same part once more
            return None
        self._assembling.append(packet[1:])
        self._assembling_bytes += len(packet) - 1
        if self._assembling_bytes > self.limit:
            size = self._assembling_bytes
            self.drop_partial()
            raise MessageTooLarge(size, self.limit)
        if not flags & _LAST:
            return None
        message = b"".join(self._assembling)
        self.drop_partial()
        return message

    # -- ending ----------------------------------------------------------------------------------------------

    def hang_up(self) -> None:
        """End the conversation for every process that holds a duplicate of either end; what has arrived can be read."""
        with contextlib.suppress(OSError):  # the other side was quicker
            self._sock.shutdown(socket.SHUT_RDWR)

    def shutdown(self) -> None:
        """Hang up, then close."""
        self.hang_up()
        self.close()

    def close(self) -> None:
        """Close this process's descriptor only; a duplicate elsewhere keeps the channel alive."""
        self.forget_unsent()
        self._sock.close()


def _packets(message: bytes) -> list[bytes]:
    if len(message) <= PART_BYTES:
        return [_WHOLE + message]
    view = memoryview(message)
    packets = []
    for number, start in enumerate(range(0, len(message), PART_BYTES)):
        last = start + PART_BYTES >= len(message)
        flags = (_ODD if number % 2 else 0) | (_FIRST if number == 0 else 0) | (_LAST if last else 0)
        packets.append(bytes([flags]) + view[start : start + PART_BYTES])
    return packets
