"""Processes that are killed at the worst moment."""

import itertools
import os
import random
import select
import signal
from contextlib import ExitStack, suppress
from typing import Any

import psutil
import pytest

from actors.channel import Channel
from actors.errors import QueueClosed
from actors.processes.restarts import Restart, RestartPolicy
from actors.queues import MessageQueue
from tests.actors.counter import Held
from tests.actors.systems import System, pid_of
from tests.forking import Forked, forked
from tests.polling import until

VICTIMS = 12
"""So many kills left every other writer of a `multiprocessing.Queue` mute each time."""


def count(queue: MessageQueue[Any], size: int) -> None:
    """Write numbered messages for ever, as fast as they are read."""
    for number in itertools.count():
        queue.put((number, "x" * size))


def start_writer(processes: ExitStack, size: int) -> tuple[MessageQueue[Any], Forked]:
    """A process that writes, and our end of its queue."""
    ours, theirs = MessageQueue.pair(tuple[int, str])
    process = processes.enter_context(forked(lambda: count(theirs, size)))
    theirs.close()
    processes.callback(ours.close)
    return ours, process


def numbers_left(queue: MessageQueue[Any]) -> list[int]:
    """The numbers of the messages that a dead writer has left."""
    numbers = []
    with suppress(QueueClosed):
        while True:
            numbers.append(queue.get(timeout=10)[0])
    return numbers


def test_hazard_01_writer_killed_while_others_write() -> None:
    """Writers that are killed in the midst of a message take nothing with them but that message."""
    chance = random.Random(1)
    with ExitStack() as processes:
        steady = [start_writer(processes, size)[0] for size in (10, 1_000, 100_000)]
        expected = [0] * len(steady)
        for _ in range(VICTIMS):
            queue, victim = start_writer(processes, 300_000)
            before = chance.randrange(5)
            assert [queue.get(timeout=10)[0] for _ in range(before)] == list(range(before))
            victim.kill()
            assert (rest := numbers_left(queue)) == list(range(before, before + len(rest)))
            for at, other in enumerate(steady):
                for _ in range(20):
                    assert other.get(timeout=10)[0] == expected[at]
                    expected[at] += 1


def test_hazard_02_reader_killed_while_it_waits() -> None:
    """The next reader of the same end gets the next message, each time."""
    for _ in range(5):
        ours, theirs = MessageQueue.pair(str)

        def read(end: MessageQueue[str] = theirs) -> None:
            end.put("here")
            end.get()

        with ours, theirs, forked(read) as reader:
            assert ours.get(timeout=10) == "here"
            reader.wait_until(psutil.STATUS_SLEEPING)
            reader.kill()
            ours.put("still there?")
            assert theirs.get(timeout=10) == "still there?"


@pytest.mark.parametrize("size", [1, 100_000])
def test_hazard_03_partial_write_of_a_writer_that_has_a_successor(size: int) -> None:
    """What follows a half-written message is not taken for its rest, though the end of its writer lives on."""
    writer, reader = Channel.pair()

    def write() -> None:
        writer.post(b"whole")
        writer.post(b"x" * 1_000_000)  # more than the socket takes: some of it is never sent
        signal.pause()

    with forked(write) as process:
        poll = select.poll()
        poll.register(reader.fileno(), select.POLLIN)
        assert poll.poll(10_000)
        process.wait_until(psutil.STATUS_SLEEPING)
        process.kill()
        assert reader.receive() == b"whole"
        assert reader.receive() is None
        writer.post(b"y" * size)
        assert reader.receive() == b"y" * size
    writer.close()
    with pytest.raises(QueueClosed):
        reader.receive()
    reader.close()


def test_hazard_09_descriptors_inherited_by_a_grandchild(system: System) -> None:
    """A killed worker's session ends although a child that it forked holds its end of the queue open."""
    system.handle.spawn("w", "tests.hazards.workers:hold_and_fork", b"", RestartPolicy(Restart.TEMPORARY))
    pid = pid_of(system.ready("w"))
    try:
        assert system.ask(Held()) == 1
        os.kill(pid, signal.SIGKILL)
        until(lambda: system.ask(Held()) == 0, "what it held is given back")
    finally:
        os.killpg(pid, signal.SIGKILL)
