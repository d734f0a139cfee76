"""`MessageQueue`: a multiprocessing queue that outlives the death of either process.

The standard `multiprocessing.Queue` and `SimpleQueue` guard a shared pipe with semaphores that nobody owns: a process
killed while it holds one leaves every other process mute. Here each queue joins exactly two processes, so there is no
lock to lose, and an end that dies shows itself as `QueueClosed` at the other.
"""

from __future__ import annotations

import fcntl
import os
import select
import weakref
from collections.abc import Callable
from multiprocessing import context, reduction
from queue import Empty, Full
from types import TracebackType
from typing import Any, Generic, Self, TypeVar, cast

import msgspec

from actors.channel import DEFAULT_LIMIT, Channel
from actors.clock import Clock, SystemClock
from actors.errors import UNDECODABLE, MessageInvalid, QueueClosed, QueueShared
from actors.statistics import QueueStatistics

T = TypeVar("T")

_ANYTHING = cast("type[Any]", Any)


class MessageQueue(Generic[T]):
    """One end of a two-way queue between two processes.

    Messages are of one type, given when the pair is made: a msgspec struct, or any builtin type. They travel as
    MessagePack and are checked when they arrive; nothing is ever unpickled. The names are those of
    `multiprocessing.Queue`, and an end can be an argument of a `multiprocessing.Process`.

    An end belongs to the process that uses it first, and there to one thread at a time; in another process it raises
    `QueueShared`. Whoever has given an end to a process cannot use it any more, but can give it to another one, which
    takes over when the first is dead. Prefer the start methods `spawn` and `forkserver`: a forked process holds a
    copy of all ends that its parent had, and while it lives, nobody sees that the parent's side is gone.

    >>> ours, theirs = MessageQueue.pair(dict[str, int])
    >>> ours.put({"a": 1})
    >>> theirs.get(timeout=1)
    {'a': 1}
    >>> theirs.get_nowait()
    Traceback (most recent call last):
    _queue.Empty
    >>> ours.close(); theirs.close()
    """

    def __init__(self, channel: Channel, type: type[T] = _ANYTHING, clock: Clock | None = None) -> None:
        self._channel = channel
        self._type = type
        self._clock = clock or SystemClock()
        self._offered = False  # whether updates may be waiting in the channel
        self._user = 0  # the process that uses this end; 0 before the first use
        self._given = False  # whether it was an argument of another process
        self._maker = os.getpid()
        self._twin: weakref.ref[MessageQueue[T]] | None = None
        self._encode = msgspec.msgpack.Encoder().encode
        self._decode = msgspec.msgpack.Decoder(type).decode

    @classmethod
    def pair(cls, type: type[T] = _ANYTHING, limit: int = DEFAULT_LIMIT) -> tuple[Self, Self]:
        """Two connected ends.

        Args:
            type: The type of the messages in both directions.
            limit: Longest encoded message in bytes, checked at the sender.
        """
        left, right = (cls(channel, type) for channel in Channel.pair(limit))
        left._twin = weakref.ref(right)  # noqa: SLF001 - of the same class
        right._twin = weakref.ref(left)  # noqa: SLF001 - the same
        return left, right

    def put(self, item: T, block: bool = True, timeout: float | None = None) -> None:
        """Send a message, whole or not at all.

        Args:
            item: The message.
            block: Wait for room; False is `put_nowait`.
            timeout: Longest wait in seconds; None waits for as long as it takes.

        Raises:
            Full: There was no room for the whole message in time; it will not arrive.
            MessageInvalid: The message cannot be encoded.
            MessageTooLarge: The message is over the limit.
            QueueClosed: The other end is gone.
            QueueShared: The end belongs to another process.
        """
        if self._user != os.getpid():
            self._claim()
        message = self._encoded(item)
        wait_s = timeout if block else 0
        if self._offered:
            wait_s = self._wait_for_offered(wait_s)
        sent = False
        try:
            self._channel.post(message)
            sent = self._wait_until(select.POLLOUT, self._channel.flush, wait_s)
        finally:
            if not sent:  # also after a KeyboardInterrupt
                self._channel.forget_unsent()
        if not sent:
            raise Full

    def put_nowait(self, item: T) -> None:
        """Send a message if there is room for all of it now; see `put`."""
        self.put(item, block=False)

    def offer(self, item: T, resync: T) -> bool:
        """Send an update that a slow reader can do without; never waits.

        What there is no room for is sent by the next `offer`, `put`, `get` or `flush`. If more than
        `actors.channel.UPDATE_BYTES` wait, all updates that wait are replaced by one `resync`, in the place of the
        first; until that has left, further ones are dropped. So a reader that asks for everything anew at each resync
        ends with the state of the writer, and no message that was put after an update is got before the news that
        the update is gone.

        Args:
            item: The update.
            resync: What tells the reader that updates are missing; see `Channel.offer`.

        Returns:
            Whether the update was sent or waits to be sent; it may still be dropped for a later one.

        Raises:
            MessageInvalid: One of the two cannot be encoded.
            MessageTooLarge: One of the two is over the limit.
            QueueClosed: The other end is gone.
            QueueShared: The end belongs to another process.
        """
        if self._user != os.getpid():
            self._claim()
        update, news = self._encoded(item), self._encoded(resync)
        self._offered = True
        taken = self._channel.offer(update, news)
        self._offered = self._channel.unsent_bytes > 0
        return taken

    def flush(self, timeout: float | None = 0) -> bool:
        """Send what `offer` has kept; True when nothing is left.

        Args:
            timeout: Longest wait in seconds; None waits for as long as it takes.

        Raises:
            QueueClosed: The other end is gone.
            QueueShared: The end belongs to another process.
        """
        if self._user != os.getpid():
            self._claim()
        self._offered = self._offered and not self._wait_until(select.POLLOUT, self._channel.flush, timeout)
        return not self._offered

    def get(self, block: bool = True, timeout: float | None = None) -> T:
        """The next message.

        Args:
            block: Wait for one; False is `get_nowait`.
            timeout: Longest wait in seconds, for the whole message; None waits for as long as it takes.

        Raises:
            Empty: No whole message came in time.
            MessageInvalid: What came is not of the queue's type; it is gone, the next one can be read.
            MessageTooLarge: The other end has another limit; the message is gone, the next one can be read.
            QueueClosed: The other end is gone and everything it sent has been read.
            QueueShared: The end belongs to another process.
        """
        if self._user != os.getpid():
            self._claim()
        received: list[bytes] = []

        def take() -> bool:
            if self._offered:
                self._send_offered()
            message = self._channel.receive()
            if message is not None:
                received.append(message)
            return bool(received)

        if not self._wait_until(select.POLLIN, take, timeout if block else 0):
            raise Empty
        try:
            return self._decode(received[0])
        except UNDECODABLE as error:
            reason = f"a message of another type arrived: {error}"
            raise MessageInvalid(reason) from error

    def get_nowait(self) -> T:
        """The next message if there is one now; see `get`."""
        return self.get(block=False)

    def fileno(self) -> int:
        """The descriptor, to wait on with a selector: readable means `get_nowait` may give a message."""
        return self._channel.fileno()

    def close(self) -> None:
        """Close this end; the other one reads what was sent and then gets `QueueClosed`."""
        self._channel.close()

    def statistics(self) -> QueueStatistics:
        """What has passed through this end."""
        return self._channel.statistics()

    def _encoded(self, item: T) -> bytes:
        try:
            return self._encode(item)
        except (TypeError, ValueError, OverflowError, RecursionError) as error:
            reason = f"the message cannot be encoded: {error}"
            raise MessageInvalid(reason) from error

    def _claim(self) -> None:
        """Make this process the one that uses this end."""
        if self._user:
            raise QueueShared(self._user)
        if self._given:
            raise QueueShared
        try:
            # The kernel's record of who uses it, so that it reaches every copy: it belongs to the process and not to
            # the descriptor, ends with the process, and nobody ever waits for it.
            fcntl.lockf(self._channel.fileno(), fcntl.LOCK_EX | fcntl.LOCK_NB)
        except (BlockingIOError, PermissionError):
            raise QueueShared from None
        except (OSError, ValueError):
            return  # it was closed, as the call itself will say
        self._user = os.getpid()
        if self._user != self._maker:
            self._close_forked_twin()

    def _close_forked_twin(self) -> None:
        """After a fork this process holds a copy of the other end too, which would hide the other process's death."""
        twin = None if self._twin is None else self._twin()
        if twin is not None and twin._user != self._user:  # noqa: SLF001 - of the same class
            twin.close()

    def _wait_for_offered(self, wait_s: float | None) -> float | None:
        """Wait until the updates before a message have left; how much of its time is left to the message."""
        start = self._clock.monotonic()
        if not self.flush(wait_s):
            raise Full
        return None if wait_s is None else max(0.0, wait_s - (self._clock.monotonic() - start))

    def _send_offered(self) -> None:
        try:
            self._offered = not self._channel.flush()
        except QueueClosed:  # what the other end has sent before can still be read
            self._channel.forget_unsent()
            self._offered = False

    def _wait_until(self, event: int, attempt: Callable[[], bool], timeout: float | None) -> bool:
        if attempt():
            return True
        deadline = None if timeout is None else self._clock.monotonic() + timeout
        poll = select.poll()
        while True:
            # A writer that waits for an answer still has to send what the answer may depend on.
            poll.register(self._channel.fileno(), event | (select.POLLOUT if self._offered else 0))
            wait_ms = None if deadline is None else (deadline - self._clock.monotonic()) * 1_000
            if wait_ms is not None and wait_ms <= 0:
                return False
            poll.poll(wait_ms)
            if attempt():
                return True

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def __reduce__(self) -> tuple[Any, ...]:
        # As for the standard queues: an end travels to a process only while that process is being started.
        context.assert_spawning(self)
        if self._user:
            raise QueueShared(self._user)
        self._given = True
        return _rebuild, (type(self), reduction.DupFd(self.fileno()), self._type, self._channel.limit)


def _rebuild(cls: type[MessageQueue[T]], fd: Any, type: type[T], limit: int) -> MessageQueue[T]:
    return cls(Channel.from_fd(fd.detach(), limit), type)
