import contextlib
import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator
from queue import Empty, Full
from typing import Any

import msgspec
import pytest

from actors.channel import Channel
from actors.errors import MessageInvalid, MessageTooLarge, QueueClosed
from actors.queues import MessageQueue

Ends = tuple[Any, Any]


class Point(msgspec.Struct):
    """A typed message."""

    x: int
    y: int


@contextlib.contextmanager
def ours() -> Iterator[Ends]:
    """Both ends of a message queue."""
    ends: Ends = MessageQueue.pair()
    left, right = ends
    with left, right:
        yield left, right


@contextlib.contextmanager
def standard() -> Iterator[Ends]:
    """The standard queue, whose two ends are one object."""
    queue: multiprocessing.Queue[Any] = multiprocessing.get_context("spawn").Queue()
    yield queue, queue
    queue.close()
    queue.join_thread()


BOTH = pytest.mark.parametrize("make", [ours, standard])


@BOTH
def test_messages_arrive_in_order(make: Callable[[], Any]) -> None:
    """As from the standard queue, what is put first is got first."""
    with make() as (writer, reader):
        for item in ["a", 1, None, {"b": [1.5, True]}]:
            writer.put(item)
        assert [reader.get(timeout=10) for _ in range(4)] == ["a", 1, None, {"b": [1.5, True]}]


@BOTH
def test_an_empty_queue_says_so(make: Callable[[], Any]) -> None:
    """`Empty` comes at once without blocking, and after the timeout with it."""
    with make() as (_, reader):
        for get in (reader.get_nowait, lambda: reader.get(block=False), lambda: reader.get(timeout=0.01)):
            with pytest.raises(Empty):
                get()


@BOTH
def test_a_waiting_get_is_woken(make: Callable[[], Any]) -> None:
    """A reader that already waits gets the message."""
    with make() as (writer, reader):
        got: list[Any] = []
        thread = threading.Thread(target=lambda: got.append(reader.get(timeout=10)))
        thread.start()
        writer.put("hello")
        thread.join()
        assert got == ["hello"]


@BOTH
def test_a_long_message_passes_between_threads(make: Callable[[], Any]) -> None:
    """A message far longer than a pipe or a packet arrives whole."""
    with make() as (writer, reader):
        thread = threading.Thread(target=writer.put, args=("x" * 5_000_000,))
        thread.start()
        assert len(reader.get(timeout=10)) == 5_000_000
        thread.join()


def echo(queue: MessageQueue[Any]) -> None:
    """A child that says everything twice."""
    while (item := queue.get()) is not None:
        queue.put([item, item])


@pytest.mark.parametrize("method", ["spawn", "fork"])
def test_an_end_can_be_an_argument_of_a_process(method: str) -> None:
    """As with the standard queues, a child is given its end when it is started."""
    context: Any = multiprocessing.get_context(method)
    ends: Ends = MessageQueue.pair()
    left, right = ends
    process = context.Process(target=echo, args=(right,))
    process.start()
    right.close()
    left.put("a")
    assert left.get(timeout=30) == ["a", "a"]
    left.put(None)
    process.join()
    with pytest.raises(QueueClosed):
        left.get(timeout=30)
    left.close()


def test_an_end_does_not_travel_otherwise() -> None:
    """It cannot be pickled into a file or another queue."""
    with ours() as (left, _), pytest.raises(RuntimeError):
        left.__reduce__()


def fill(writer: MessageQueue[Any]) -> int:
    """Put long messages until there is no room; how many were put."""
    sent = 0
    with contextlib.suppress(Full):
        while True:
            writer.put_nowait("x" * 100_000)
            sent += 1
    return sent


def test_a_full_queue_says_so_and_the_message_never_arrives() -> None:
    """`Full` means that the message is gone, whole, even if parts of it had been sent."""
    with ours() as (writer, reader):
        sent = fill(writer)
        with pytest.raises(Full):
            writer.put("y", timeout=0.01)
        assert [len(reader.get(timeout=1)) for _ in range(sent)] == [100_000] * sent
        writer.put("z")
        assert reader.get(timeout=1) == "z"


def test_typed_messages_are_checked_when_they_arrive() -> None:
    """What does not fit the type is an error for the reader, and the next message is read."""
    left, right = MessageQueue.pair(Point)
    with left, right:
        left.put(Point(1, 2))
        assert right.get(timeout=1) == Point(1, 2)
        for packet in (b"\xa3abc", b"\x81\xa1x\xa1y", b"\xc1", b"\x91" * 100_000, b"\x81\xa1\xff\x01"):
            left._channel.post(packet)
            with pytest.raises(MessageInvalid):
                right.get(timeout=1)
        left.put(Point(3, 4))
        assert right.get(timeout=1) == Point(3, 4)


def test_what_cannot_be_encoded_is_refused_at_the_sender() -> None:
    """The error names the fault, and nothing is sent."""
    endless: list[Any] = []
    endless.append(endless)
    with ours() as (left, right):
        for item in (object(), 2**70, endless):
            with pytest.raises(MessageInvalid):
                left.put(item)
        with pytest.raises(Empty):
            right.get_nowait()


def test_a_message_over_the_limit_is_refused_at_the_sender() -> None:
    """The limit is the one the pair was made with."""
    ends: Ends = MessageQueue.pair(limit=1_000)
    left, right = ends
    with left, right:
        with pytest.raises(MessageTooLarge):
            left.put("x" * 1_000)
        left.put("x" * 900)
        assert right.get(timeout=1) == "x" * 900


@pytest.mark.parametrize("operation", ["put", "get"])
def test_a_closed_end_tells_the_other(operation: str) -> None:
    """The reader gets what was sent before, then `QueueClosed`; so does a writer, and so does the closed end itself."""
    with ours() as (left, right):
        left.put("last")
        left.close()
        assert right.get(timeout=1) == "last"
        for end in (left, right):
            with pytest.raises(QueueClosed):
                end.put("x") if operation == "put" else end.get(timeout=1)


def test_a_reader_that_waits_is_told_when_the_writer_is_killed() -> None:
    """Nobody waits for the dead: no lock dies with a process."""
    ends: Ends = MessageQueue.pair()
    left, right = ends
    pid = os.fork()
    if not pid:
        left.close()
        right.get()  # killed while it waits, where the standard queue would stay locked
        os._exit(1)
    right.close()
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    with pytest.raises(QueueClosed):
        left.get(timeout=10)
    with pytest.raises(QueueClosed):
        left.put("x")
    left.close()


def test_an_interrupted_put_sends_nothing_later(monkeypatch: pytest.MonkeyPatch) -> None:
    """After Ctrl-C in a waiting `put` the message is not sent by the next one."""
    with ours() as (writer, reader):

        def interrupt(*_: Any) -> bool:
            raise KeyboardInterrupt

        monkeypatch.setattr(Channel, "flush", interrupt)
        with pytest.raises(KeyboardInterrupt):
            writer.put("x" * 1_000_000)
        monkeypatch.undo()
        with pytest.raises(Empty):
            reader.get_nowait()
        writer.put("y")
        assert reader.get(timeout=1) == "y"
