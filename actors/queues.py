"""`MessageQueue`: a multiprocessing queue that outlives the death of either process.

The standard `multiprocessing.Queue` and `SimpleQueue` guard a shared pipe with semaphores that nobody owns: a process
killed while it holds one leaves every other process mute. Here each queue joins exactly two processes, so there is no
lock to lose, and an end that dies shows itself as `QueueClosed` at the other.
"""

from __future__ import annotations

import select
from collections.abc import Callable
from multiprocessing import context, reduction
from queue import Empty, Full
from types import TracebackType
from typing import Any, Generic, Self, TypeVar, cast

import msgspec

from actors.channel import DEFAULT_LIMIT, Channel
from actors.clock import Clock, SystemClock
from actors.errors import UNDECODABLE, MessageInvalid

T = TypeVar("T")

_ANYTHING = cast("type[Any]", Any)


class MessageQueue(Generic[T]):
    """One end of a two-way queue between two processes.

    Messages are of one type, given when the pair is made: a msgspec struct, or any builtin type. They travel as
    MessagePack and are checked when they arrive; nothing is ever unpickled. The names are those of
    `multiprocessing.Queue`, and an end can be an argument of a `multiprocessing.Process`. An end is for one thread at
    a time.

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
        self._encode = msgspec.msgpack.Encoder().encode
        self._decode = msgspec.msgpack.Decoder(type).decode

    @classmethod
    def pair(cls, type: type[T] = _ANYTHING, limit: int = DEFAULT_LIMIT) -> tuple[Self, Self]:
        """Two connected ends.

        Args:
            type: The type of the messages in both directions.
            limit: Longest encoded message in bytes, checked at the sender.
        """
        left, right = Channel.pair(limit)
        return cls(left, type), cls(right, type)

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
        """
        try:
            message = self._encode(item)
        except (TypeError, ValueError, OverflowError, RecursionError) as error:
            reason = f"the message cannot be encoded: {error}"
            raise MessageInvalid(reason) from error
        sent = False
        try:
            self._channel.post(message)
            sent = self._wait_until(select.POLLOUT, self._channel.flush, timeout if block else 0)
        finally:
            if not sent:  # also after a KeyboardInterrupt
                self._channel.forget_unsent()
        if not sent:
            raise Full

    def put_nowait(self, item: T) -> None:
        """Send a message if there is room for all of it now; see `put`."""
        self.put(item, block=False)

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
        """
        received: list[bytes] = []

        def take() -> bool:
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

    def _wait_until(self, event: int, attempt: Callable[[], bool], timeout: float | None) -> bool:
        if attempt():
            return True
        deadline = None if timeout is None else self._clock.monotonic() + timeout
        poll = select.poll()
        poll.register(self._channel.fileno(), event)
        while True:
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
        return _rebuild, (type(self), reduction.DupFd(self.fileno()), self._type, self._channel.limit)


def _rebuild(cls: type[MessageQueue[T]], fd: Any, type: type[T], limit: int) -> MessageQueue[T]:
    return cls(Channel.from_fd(fd.detach(), limit), type)
