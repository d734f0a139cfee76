"""Processes that stop (SIGSTOP, a debugger, a frozen container), and readers that are too slow."""

import os
import signal
from contextlib import suppress
from queue import Empty, Full
from typing import Any

import msgspec
import psutil
import pytest

from actors.channel import UPDATE_BYTES
from actors.errors import QueueClosed
from actors.queues import MessageQueue
from tests.forking import forked

Ends = tuple[MessageQueue[Any], MessageQueue[Any]]


def read(queue: MessageQueue[Any]) -> None:
    """Count what comes; None asks for the count."""
    queue.put("here")
    messages = 0
    while queue.get() is not None:
        messages += 1
    queue.put(messages)


def fill(queue: MessageQueue[Any]) -> int:
    """Put messages until there is no room; how many were put."""
    sent = 0
    with suppress(Full):
        while True:
            queue.put_nowait("x" * 10_000)
            sent += 1
    return sent


def test_hazard_04_reader_stopped_while_the_queue_is_full() -> None:
    """Its writer is told in time and keeps nothing in memory; when the reader goes on, all that was sent is there."""
    ends: Ends = MessageQueue.pair()
    ours, theirs = ends
    with ours, forked(lambda: read(theirs)) as reader:
        theirs.close()
        assert ours.get(timeout=10) == "here"
        reader.stop()
        sent = fill(ours)
        with pytest.raises(Full):
            ours.put("x" * 1_000_000, timeout=0.05)
        assert ours.statistics().unsent_bytes == 0
        reader.send(signal.SIGCONT)
        ours.put(None, timeout=10)
        assert ours.get(timeout=10) == sent


def test_hazard_04_stopped_process_can_be_killed() -> None:
    """SIGTERM waits for SIGCONT, SIGKILL does not; both ends of a queue notice."""
    ends: Ends = MessageQueue.pair()
    ours, theirs = ends
    with ours, forked(lambda: read(theirs)) as reader:
        theirs.close()
        assert ours.get(timeout=10) == "here"
        reader.stop()
        reader.send(signal.SIGTERM)
        reader.wait_until(psutil.STATUS_STOPPED)
        assert reader.kill() == -signal.SIGKILL
        with pytest.raises(QueueClosed):
            ours.get(timeout=10)
        with pytest.raises(QueueClosed):
            ours.put("x")


def test_hazard_04_writer_stopped_in_the_midst_of_a_message() -> None:
    """The timeout of the reader's `get` covers the whole message, and the message comes when its writer goes on."""
    ours, theirs = MessageQueue.pair(str)

    def write() -> None:
        theirs._channel.post(msgspec.msgpack.encode("x" * 1_000_000))
        os.kill(os.getpid(), signal.SIGSTOP)
        while not theirs._channel.flush():
            pass

    with ours, forked(write) as writer:
        theirs.close()
        writer.wait_until(psutil.STATUS_STOPPED)
        for _ in range(3):
            with pytest.raises(Empty):
                ours.get(timeout=0.02)
        writer.send(signal.SIGCONT)
        assert ours.get(timeout=10) == "x" * 1_000_000


def follow(queue: MessageQueue[Any]) -> None:
    """Keep a copy of the writer's rows by its updates, and ask for all rows after a resync; show them when told to."""
    rows: dict[str, int] = {}
    resyncs = unanswered = 0
    wanted = False
    queue.put("here")
    while True:
        match queue.get():
            case ["update", key, value, _]:
                rows[key] = value
            case "resync":
                resyncs += 1
                unanswered += 1
                queue.put("rows")
            case ["rows", everything]:
                rows = everything
                unanswered -= 1
            case "show":
                wanted = True
        if wanted and not unanswered:
            queue.put([resyncs, rows])
            wanted = False


class Subscribed:
    """A subscriber's queue, and the rows that it follows."""

    def __init__(self, queue: MessageQueue[Any], rows: dict[str, int]) -> None:
        self._queue = queue
        self._rows = rows
        assert queue.get(timeout=10) == "here"

    def update(self, key: str, value: int) -> bool:
        return self._queue.offer(("update", key, value, "x" * 1_000), "resync")

    def shown(self) -> tuple[int, dict[str, int]]:
        """How often it had to ask for everything, and the rows that it has."""
        self._queue.put("show", timeout=10)
        while True:
            message = self._queue.get(timeout=10)
            if message != "rows":
                resyncs, rows = message
                return resyncs, rows
            self._queue.put(("rows", self._rows), timeout=10)


def test_hazard_11_slow_subscriber() -> None:
    """One that is stopped costs bounded memory and nobody else's time, and then has the same rows as the others."""
    rows: dict[str, int] = {}
    slow_ends: Ends = MessageQueue.pair()
    fast_ends: Ends = MessageQueue.pair()
    (ours, _), (others, _) = slow_ends, fast_ends
    with ours, others, forked(lambda: follow(slow_ends[1])) as slow, forked(lambda: follow(fast_ends[1])):
        slow_ends[1].close()
        fast_ends[1].close()
        slow_one, fast_one = Subscribed(ours, rows), Subscribed(others, rows)
        slow.stop()
        for turn in range(5_000):
            key = f"key {turn % 97}"
            rows[key] = turn
            slow_one.update(key, turn)
            fast_one.update(key, turn)
            if turn % 100 == 0:
                assert fast_one.shown() == (0, rows)
            assert ours.statistics().unsent_bytes < UPDATE_BYTES + 2_000
        assert ours.statistics().resyncs == 1
        slow.send(signal.SIGCONT)
        assert slow_one.shown() == (1, rows)
        assert fast_one.shown() == (0, rows)
