import contextlib
import errno
import os
import select
import signal
import socket
from collections.abc import Callable, Iterator
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

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


def test_a_message_displaces_an_unfinished_one_for_good(pair: Pair) -> None:
    """What comes late of the unfinished one belongs to nobody."""
    writer, reader = pair
    for packet in (b"\x01half", b"\x03whole", b"\x02rest", b"\x03next"):
        writer._sock.send(packet)
    assert [reader.receive(), reader.receive()] == [b"whole", b"next"]


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


@pytest.mark.parametrize("interrupted_at", range(5))
def test_an_interrupt_while_parts_are_sent_changes_nothing(pair: Pair, interrupted_at: int) -> None:
    """A part that was sent just before the interrupt, and is sent again because nobody noted it, counts once."""
    writer, reader = pair
    message = os.urandom(10 * PART_BYTES)
    writer.post(message)
    send = writer._send_packet
    attempts = iter(range(100))

    def interrupted_send(packet: Any, flags: int = 0, /) -> int:
        sent = send(packet, flags)
        if next(attempts) == interrupted_at:
            raise KeyboardInterrupt
        return sent

    writer._send_packet = interrupted_send
    got: list[bytes] = []
    while not got:
        with contextlib.suppress(KeyboardInterrupt):
            got = move(*pair)
    writer.post(b"next")
    assert [*got, reader.receive()] == [message, b"next"]


# -- updates -------------------------------------------------------------------------------------------------


BOUND = 100_000
LONGEST_UPDATE = 3 * PART_BYTES


@pytest.fixture
def full() -> Iterator[Pair]:
    """A channel that lets 100,000 bytes of updates wait, and whose socket is full of posted messages."""
    writer, reader = narrow_pair()
    yield writer, reader
    writer.close()
    reader.close()


def narrow_pair() -> Pair:
    """Two ends with little room between them."""
    left, right = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    left.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 70_000)
    return Channel(left, update_bytes=BOUND), Channel(right)


def fill(writer: Channel) -> list[bytes]:
    """Post until something waits; what was posted."""
    posted = []
    while not writer.unsent_bytes:
        posted.append(b"p" * 20_000)
        writer.post(posted[-1])
    return posted


def test_updates_are_sent_like_messages_while_there_is_room(pair: Pair) -> None:
    """A reader that keeps up sees no resync."""
    updates = [b"a", b"b" * (2 * PART_BYTES), b""]
    assert [pair[0].offer(update, b"resync") for update in updates] == [True] * 3
    assert move(*pair) == updates


def test_updates_for_a_slow_reader_become_one_resync(full: Pair) -> None:
    """It stands in the place of the first dropped update; what was posted is all there, in order."""
    writer, reader = full
    posted = fill(writer)
    updates = 0
    while writer.offer(b"u" * 10_000, b"resync"):
        updates += 1
        writer.post(b"between")
    assert not writer.offer(b"late", b"resync")
    assert writer.unsent_bytes < BOUND
    writer.post(b"last")
    assert move(*full) == [*posted, b"resync", *[b"between"] * updates, b"last"]
    assert writer.statistics().dropped == updates + 2
    assert reader.statistics().received == writer.statistics().sent


def test_updates_are_sent_again_when_the_resync_has_left(full: Pair) -> None:
    """A reader that was slow once is served like others afterwards."""
    writer, _ = full
    fill(writer)
    while writer.offer(b"u" * 10_000, b"resync"):
        pass
    assert not writer.offer(b"dropped", b"resync")
    move(*full)
    assert writer.offer(b"new", b"resync")
    assert move(*full) == [b"new"]
    assert writer.statistics().resyncs == 1


def test_an_update_that_has_begun_to_leave_is_not_cut(full: Pair) -> None:
    """Its other parts follow; the resync stands behind it."""
    writer, _ = full
    long = b"x" * (8 * PART_BYTES)
    assert writer.offer(long, b"resync")
    assert 0 < writer.unsent_bytes < len(long)
    assert not writer.offer(b"dropped", b"resync")
    writer.post(b"last")
    assert move(*full) == [long, b"resync", b"last"]


def test_a_resync_without_waiting_updates_comes_last(full: Pair) -> None:
    """Posted messages alone may fill what may wait; the update that found no room is replaced where it would stand."""
    writer, _ = full
    posted = fill(writer)
    posted.append(b"y" * BOUND)
    writer.post(posted[-1])
    resync = b"r" * (2 * PART_BYTES)
    assert not writer.offer(b"dropped", resync)
    assert move(*full) == [*posted, resync]


@pytest.mark.parametrize(("size", "resync_size"), [(LIMIT + 1, 1), (1, LIMIT + 1)])
def test_an_update_over_the_limit_changes_nothing(pair: Pair, size: int, resync_size: int) -> None:
    """Also when only its resync is too long."""
    with pytest.raises(MessageTooLarge):
        pair[0].offer(b"x" * size, b"r" * resync_size)
    assert move(*pair) == []


STEPS = st.lists(
    st.tuples(
        st.sampled_from(["post", "offer", "offer", "read"]),
        st.sampled_from([0, 10_000, 30_000, LONGEST_UPDATE]),
        st.integers(1, 10),
    ),
    min_size=5,
    max_size=30,
)


class Mirror:
    """A writer that counts, and a reader that follows it by updates, or by a look at the writer after a resync."""

    def __init__(self) -> None:
        self.writer, self.reader = narrow_pair()
        self.revision = self.seen = self.posted = self.read = 0

    def post(self, size: int) -> None:
        self.posted += 1
        self.writer.post(self._message("post", self.posted, size))

    def offer(self, size: int) -> None:
        self.revision += 1
        self.writer.offer(self._message("update", 0, size), self._message("resync", 0, 0))
        waiting = sum(len(packet) for packet, kind in self.writer._outbox if kind)
        assert waiting <= BOUND + LONGEST_UPDATE + 100
        assert self.writer.unsent_bytes == sum(len(packet) for packet, _ in self.writer._outbox)

    def get(self, _: int = 0) -> bool:
        """Read a message; whether there was one."""
        message = self._next()
        if message is None:
            return False
        kind, number, revision, _content = msgspec.msgpack.decode(message, type=tuple[str, int, int, bytes])
        if kind == "post":
            assert number == self.read + 1
            assert self.seen >= revision, "it has overtaken an update, or the news that one is gone"
            self.read = number
        elif kind == "update":
            assert revision <= self.seen + 1, "an update was lost without a word"
            self.seen = max(self.seen, revision)
        else:
            self.seen = self.revision
        return True

    def _next(self) -> bytes | None:
        while (message := self.reader.receive()) is None:
            if self.writer.flush():
                return self.reader.receive()
        return message

    def close(self) -> None:
        self.writer.close()
        self.reader.close()

    def _message(self, kind: str, number: int, size: int) -> bytes:
        return msgspec.msgpack.encode((kind, number, self.revision, bytes(size)))


@settings(deadline=None)
@given(STEPS)
def test_a_reader_that_resyncs_ends_with_the_writers_state(steps: list[tuple[str, int, int]]) -> None:
    """In whatever order is posted, offered and read: no post is lost, no update silently, and what waits is bounded."""
    with contextlib.closing(Mirror()) as mirror:
        do: dict[str, Callable[[int], object]] = {"post": mirror.post, "offer": mirror.offer, "read": mirror.get}
        for step, size, times in steps:
            for _ in range(times):
                do[step](size)
        while mirror.get():
            pass
        assert (mirror.read, mirror.seen) == (mirror.posted, mirror.revision)
        told, heard = mirror.writer.statistics(), mirror.reader.statistics()
        assert (heard.received, heard.received_bytes) == (told.sent, told.sent_bytes)


# -- statistics and strange kernels --------------------------------------------------------------------------


def test_statistics_count_what_has_passed(pair: Pair) -> None:
    """Both directions, and what waits; a message that is forgotten was not sent."""
    writer, reader = pair
    writer.post(b"a")
    writer.post(b"b" * (2 * PART_BYTES))
    reader.post(b"answer")
    move(*pair)
    move(reader, writer)
    told, heard = writer.statistics(), reader.statistics()
    assert (told.sent, told.sent_bytes, told.received, told.received_bytes) == (2, 2 * PART_BYTES + 1, 1, 6)
    assert (heard.received, heard.received_bytes, heard.sent) == (2, 2 * PART_BYTES + 1, 1)
    writer.post(b"x" * LIMIT)
    assert writer.statistics().sent == 3
    assert writer.statistics().unsent_bytes == writer.unsent_bytes > 0
    writer.forget_unsent()
    assert (writer.statistics().sent, writer.statistics().unsent_bytes) == (2, 0)


def test_a_kernel_without_memory_is_a_full_socket(pair: Pair) -> None:
    """The message waits, and nobody takes the other end for dead."""
    writer, _ = pair
    send = writer._send_packet

    def refuse(*_: object) -> int:
        raise OSError(errno.ENOBUFS, "No buffer space available")

    writer._send_packet = refuse
    writer.post(b"one")
    assert writer.unsent_bytes
    writer._send_packet = send
    assert move(*pair) == [b"one"]
