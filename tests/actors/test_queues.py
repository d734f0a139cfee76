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

from actors.channel import UPDATE_BYTES, Channel
from actors.errors import MessageInvalid, MessageTooLarge, QueueClosed
from actors.queues import MessageQueue
from tests.polling import until

Ends = tuple[Any, Any]


class Point(msgspec.Struct):
    """A typed message."""

    x: int
    y: int


Make = Callable[..., contextlib.AbstractContextManager[Ends]]

SPAWN: Any = multiprocessing.get_context("spawn")


@contextlib.contextmanager
def ours(context: Any = SPAWN) -> Iterator[Ends]:
    """Both ends of a message queue."""
    del context
    ends: Ends = MessageQueue.pair()
    left, right = ends
    with left, right:
        yield left, right


@contextlib.contextmanager
def standard(context: Any = SPAWN, maxsize: int = 0) -> Iterator[Ends]:
    """The standard queue, whose two ends are one object."""
    queue: multiprocessing.Queue[Any] = context.Queue(maxsize)
    yield queue, queue
    queue.close()
    queue.join_thread()


@contextlib.contextmanager
def simple(context: Any = SPAWN) -> Iterator[Ends]:
    """The standard queue without a thread behind it."""
    queue = context.SimpleQueue()
    yield queue, queue
    queue.close()


ALL = pytest.mark.parametrize("make", [ours, standard, simple])
WITH_TIMEOUTS = pytest.mark.parametrize("make", [ours, standard])


# -- what every queue does ---------------------------------------------------------------------------------------


@ALL
def test_messages_arrive_in_order(make: Make) -> None:
    """As from the standard queues, what is put first is got first."""
    with make() as (writer, reader):
        for item in ["a", 1, None, {"b": [1.5, True]}, b"\x00", ""]:
            writer.put(item)
        assert [reader.get() for _ in range(6)] == ["a", 1, None, {"b": [1.5, True]}, b"\x00", ""]


@ALL
def test_a_waiting_get_is_woken(make: Make) -> None:
    """A reader that already waits gets the message."""
    with make() as (writer, reader):
        got: list[Any] = []
        thread = threading.Thread(target=lambda: got.append(reader.get()))
        thread.start()
        writer.put("hello")
        thread.join()
        assert got == ["hello"]


@ALL
@pytest.mark.parametrize("size", [65_536, 250_000, 5_000_000])
def test_a_long_message_passes_between_threads(make: Make, size: int) -> None:
    """A message longer than a pipe or a packet arrives whole, and a short one behind it."""
    with make() as (writer, reader):

        def put() -> None:
            writer.put("x" * size)
            writer.put("short")

        thread = threading.Thread(target=put)
        thread.start()
        assert reader.get() == "x" * size
        assert reader.get() == "short"
        thread.join()


@ALL
def test_a_closed_end_takes_nothing(make: Make) -> None:
    """A `put` after `close` is an error in the process that closed."""
    with make() as (writer, _):
        writer.close()
        with pytest.raises((QueueClosed, ValueError, OSError)):
            writer.put("x")


@WITH_TIMEOUTS
def test_an_empty_queue_says_so(make: Make) -> None:
    """`Empty` comes at once without blocking, and after the timeout with it."""
    with make() as (_, reader):
        for get in (reader.get_nowait, lambda: reader.get(block=False), lambda: reader.get(timeout=0.01)):
            with pytest.raises(Empty):
                get()


@pytest.mark.parametrize("make", [ours, lambda: standard(maxsize=3)])
def test_a_full_queue_says_so(make: Make) -> None:
    """`Full` comes at once without blocking, and after the timeout with it; what was put before is there."""
    with make() as (writer, reader):
        sent = fill(writer)
        for put in (writer.put_nowait, lambda item: writer.put(item, timeout=0.01)):
            with pytest.raises(Full):
                put("y")
        assert [len(reader.get()) for _ in range(sent)] == [100_000] * sent
        writer.put("z")
        assert reader.get() == "z"


def fill(writer: Any) -> int:
    """Put long messages until there is no room; how many were put."""
    sent = 0
    with contextlib.suppress(Full):
        while True:
            writer.put_nowait("x" * 100_000)
            sent += 1
    return sent


def double(inbox: Any, outbox: Any) -> None:
    """A child that says everything twice."""
    while (item := inbox.get()) is not None:
        outbox.put([item, item])


@ALL
@pytest.mark.parametrize("method", ["spawn", "forkserver", "fork"])
def test_an_end_can_be_an_argument_of_a_process(make: Make, method: str) -> None:
    """As with the standard queues, a child is given its ends when it is started, by whatever method."""
    context: Any = multiprocessing.get_context(method)
    with make(context) as (questions, inbox), make(context) as (outbox, answers):
        process = context.Process(target=double, args=(inbox, outbox))
        process.start()
        for item in ("a", "b" * 200_000):
            questions.put(item)
            assert answers.get() == [item, item]
        questions.put(None)
        process.join()
        assert process.exitcode == 0


# -- what only ours does -----------------------------------------------------------------------------------------


def echo(queue: MessageQueue[Any]) -> None:
    """A child that says everything twice over one queue."""
    double(queue, queue)


def test_one_queue_serves_both_directions() -> None:
    """A child answers over the end that it reads from; when it is gone, that is `QueueClosed`."""
    ends: Ends = MessageQueue.pair()
    left, right = ends
    process = SPAWN.Process(target=echo, args=(right,))
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


def test_a_message_for_which_there_was_no_room_never_arrives() -> None:
    """The timeout of `put` covers the whole message: when it is over, not even the parts that were sent count."""
    with ours() as (writer, reader):
        with pytest.raises(Full):
            writer.put("x" * 1_000_000, timeout=0.05)
        with pytest.raises(Empty):
            reader.get(timeout=0.01)
        writer.put("y")
        assert reader.get() == "y"
        assert writer.statistics().sent == 1


def test_the_timeout_of_get_covers_the_whole_message() -> None:
    """A writer that stops in the midst of a message does not hold up its reader; the message comes when it goes on."""
    with ours() as (writer, reader):
        writer._channel.post(msgspec.msgpack.encode("x" * 1_000_000))
        with pytest.raises(Empty):
            reader.get(timeout=0.05)

        def rest() -> Any:
            writer._channel.flush()
            with contextlib.suppress(Empty):
                return reader.get_nowait()

        assert until(rest, "the message") == "x" * 1_000_000


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


# -- updates -----------------------------------------------------------------------------------------------------


def offer_until_dropped(writer: MessageQueue[Any]) -> int:
    """Offer numbered updates until one is dropped; its number."""
    number = 0
    while writer.offer(("update", number, "x" * 50_000), "resync"):
        number += 1
    return number


def test_a_slow_reader_is_told_to_read_everything_anew() -> None:
    """Of the updates that found no room one resync is left, and nothing that was put is lost or comes before it."""
    with ours() as (writer, reader):
        writer.put("before")
        dropped = offer_until_dropped(writer)
        assert not writer.offer("also dropped", "resync")
        assert writer.statistics().unsent_bytes < UPDATE_BYTES
        assert reader.get() == "before"
        got = []
        while (message := reader.get()) != "resync":
            writer.flush()
            got.append(message[1])
        assert got == list(range(len(got)))
        assert 0 < len(got) < dropped
        assert writer.flush()
        assert writer.offer("new", "resync")
        writer.put("after")
        assert [reader.get(), reader.get()] == ["new", "after"]
        assert writer.statistics().dropped == dropped - len(got) + 2
        assert writer.statistics().resyncs == 1


def offer_some(writer: MessageQueue[Any]) -> list[str]:
    """Offer more updates than the socket takes, and fewer than may wait."""
    offered = [f"{number} {'x' * 50_000}" for number in range(15)]
    for update in offered:
        assert writer.offer(update, "resync")
    assert not writer.flush()
    return offered


def test_a_message_waits_for_the_updates_before_it() -> None:
    """A `put` that finds no time to send them is `Full`; the updates stay."""
    with ours() as (writer, reader):
        offered = offer_some(writer)
        with pytest.raises(Full):
            writer.put_nowait("z")
        with pytest.raises(Full):
            writer.put("z", timeout=0.01)
        thread = threading.Thread(target=writer.put, args=("last",))
        thread.start()
        assert [reader.get() for _ in offered] == offered
        assert reader.get() == "last"
        thread.join()
        assert writer.flush()


def test_a_writer_that_waits_for_an_answer_sends_its_updates() -> None:
    """Nobody waits for ever because the other one has not heard what to answer."""
    with ours() as (writer, reader):
        offered = offer_some(writer)
        got: list[str] = []

        def follow() -> None:
            got.extend(reader.get() for _ in offered)
            reader.put("thanks")

        thread = threading.Thread(target=follow)
        thread.start()
        assert writer.get(timeout=10) == "thanks"
        thread.join()
        assert got == offered


def test_what_a_dead_reader_said_is_read_though_updates_wait() -> None:
    """The updates are lost with their reader, its last message is not."""
    with ours() as (writer, reader):
        offer_some(writer)
        reader.put("bye")
        reader.close()
        assert writer.get(timeout=10) == "bye"
        with pytest.raises(QueueClosed):
            writer.get(timeout=10)


@pytest.mark.parametrize("offer", [(object(), "resync"), ("update", object())])
def test_an_update_that_cannot_be_encoded_changes_nothing(offer: tuple[Any, Any]) -> None:
    """Its resync is checked too, even if it is not needed yet."""
    with ours() as (writer, reader):
        with pytest.raises(MessageInvalid):
            writer.offer(*offer)
        with pytest.raises(Empty):
            reader.get_nowait()
