import os
import select
import signal
import socket
from collections.abc import Iterator

import pytest

from actors.channel import PART_BYTES, Channel
from actors.errors import MessageTooLarge, QueueClosed

LIMIT = 1024 * 1024

Pair = tuple[Channel, Channel]


@pytest.fixture
def pair() -> Iterator[Pair]:
    """Both ends of a channel with a small limit."""
    ends = Channel.pair(LIMIT)
    yield ends
    for end in ends:
        end.close()


def move(writer: Channel, reader: Channel) -> list[bytes]:
    """All that the writer has, as the reader gets it."""
    messages = []
    while True:
        done = writer.flush()
        while (message := reader.receive()) is not None:
            messages.append(message)
        if done:
            return messages


@pytest.mark.parametrize("size", [0, 1, PART_BYTES, PART_BYTES + 1, 3 * PART_BYTES, LIMIT])
def test_a_message_of_any_length_up_to_the_limit_arrives_whole(pair: Pair, size: int) -> None:
    """One packet or many, the reader gets exactly what was sent."""
    message = os.urandom(size)
    pair[0].post(message)
    assert move(*pair) == [message]


def test_messages_keep_their_order_when_some_have_parts(pair: Pair) -> None:
    """A short message never overtakes a long one."""
    messages = [b"a", b"b" * (2 * PART_BYTES), b"c", b"d" * (5 * PART_BYTES), b"e"]
    for message in messages:
        pair[0].post(message)
    assert move(*pair) == messages


def test_a_message_over_the_limit_is_refused_at_the_sender(pair: Pair) -> None:
    """Nothing of it is sent, and the channel goes on."""
    with pytest.raises(MessageTooLarge) as raised:
        pair[0].post(b"x" * (LIMIT + 1))
    assert (raised.value.size, raised.value.limit) == (LIMIT + 1, LIMIT)
    pair[0].post(b"next")
    assert move(*pair) == [b"next"]


def test_a_reader_with_a_smaller_limit_drops_the_message_and_reads_on() -> None:
    """A writer with another idea of the limit costs the reader one error and no memory beyond its own limit."""
    left, right = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    writer, reader = Channel(left), Channel(right, limit=PART_BYTES)
    writer.post(b"x" * (2 * PART_BYTES))
    writer.post(b"next")
    with pytest.raises(MessageTooLarge):
        reader.receive()
    assert reader.receive() == b"next"
    writer.close()
    reader.close()


def test_a_message_that_was_not_finished_leaves_nothing_behind(pair: Pair) -> None:
    """The first part of the next message displaces it."""
    writer, reader = pair
    writer.post(b"x" * (20 * PART_BYTES // 2))
    assert writer.unsent_bytes
    assert reader.receive() is None
    writer.forget_unsent()
    writer.post(b"y" * (2 * PART_BYTES))
    assert move(writer, reader) == [b"y" * (2 * PART_BYTES)]


def test_a_killed_writer_leaves_no_half_message() -> None:
    """A writer that dies between two parts is seen as the end of the queue, after its whole messages."""
    writer, reader = Channel.pair()
    pid = os.fork()
    if not pid:
        writer.post(b"whole")
        writer.post(b"x" * (16 * 1024 * 1024))  # far more than the socket takes: parts stay unsent
        os.kill(os.getpid(), signal.SIGKILL)
    writer.close()
    os.waitpid(pid, 0)
    assert reader.receive() == b"whole"
    with pytest.raises(QueueClosed):
        reader.receive()
    reader.close()


def test_what_a_dead_reader_wrote_can_still_be_read(pair: Pair) -> None:
    """The kernel reports the reset first, and the frames behind it are not lost."""
    ours, theirs = pair
    ours.post(b"never read")
    theirs.post(b"one")
    theirs.post(b"two")
    theirs.close()
    assert [ours.receive(), ours.receive()] == [b"one", b"two"]
    with pytest.raises(QueueClosed):
        ours.receive()
    with pytest.raises(QueueClosed):
        ours.post(b"x")


def test_hanging_up_ends_the_channel_for_every_duplicate(pair: Pair) -> None:
    """A duplicate keeps a merely closed channel alive, but not one that was hung up; what had arrived is read."""
    ours, theirs = pair
    duplicate = Channel.from_fd(os.dup(ours.fileno()))
    theirs.post(b"last")
    ours.hang_up()
    poll = select.poll()
    poll.register(theirs.fileno(), 0)
    assert poll.poll(0)
    assert duplicate.receive() == b"last"
    with pytest.raises(QueueClosed):
        duplicate.receive()
    with pytest.raises(QueueClosed):
        theirs.post(b"too late")
    duplicate.close()


@pytest.mark.parametrize("packet", [b"\x00rest", b"\x02last", b"\xfc"])
def test_parts_without_a_beginning_are_dropped(packet: bytes) -> None:
    """What a new reader finds in the middle of a message is not taken for one."""
    left, right = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    reader = Channel(right)
    left.send(packet)
    left.send(b"\x03whole")
    assert reader.receive() == b"whole"
    left.close()
    reader.close()
