"""What a SIGKILL leaves of a queue: one reader is killed while it waits, then another one wants a message.

The trial is the same for every queue: the same reader, the same kill, the same replacement, the same time for it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Protocol

from actors.queues import MessageQueue
from bench.processes import SPAWN, Peers, end

START_S = 30.0
"""How long a process may take to start."""

SETTLE_S = 0.05
"""Between the moment when a reader says that it is about to wait and its death.

Nothing can be seen from outside of whether it waits already. A death that comes too early spares the queue.
"""

PATIENCE_S = 1.0
"""How long a replacement may take for a message that is there; it takes well under a millisecond."""

TOGETHER = 5
"""Trials at one time."""

_MESSAGE = "still there?"


class _Queue(Protocol):
    """The part of a queue that a trial needs."""

    def put(self, item: str, /) -> None: ...
    def get(self) -> str: ...


Maker = Callable[[Peers], tuple[_Queue, _Queue]]
"""Makes the end that is written to and the end that is read from."""


def standard_queue(trial: Peers) -> tuple[_Queue, _Queue]:
    """A `multiprocessing.Queue`, whose two ends are one object."""
    queue = SPAWN.Queue()
    trial.callback(queue.cancel_join_thread)
    trial.callback(queue.close)
    return queue, queue


def message_queue(trial: Peers) -> tuple[_Queue, _Queue]:
    """A `MessageQueue`; the end that is read from is kept for the next reader, as a supervisor keeps it."""
    ours, theirs = MessageQueue.pair(str)
    return trial.enter_context(ours), trial.enter_context(theirs)


@dataclass(slots=True)
class Tally:
    """How the trials of one queue went."""

    trials: int = 0
    survived: int = 0


def run(makers: Mapping[str, Maker], trials: int, seconds: float) -> dict[str, Tally]:
    """Kill readers of each queue in turn.

    Args:
        makers: The queues, by name.
        trials: How many of each.
        seconds: About how long that may take; then there are fewer trials, but at least one of each.
    """
    tallies = {name: Tally() for name in makers}
    end_at = time.monotonic() + seconds
    done = 0
    longest_s = 0.0
    count = min(trials, TOGETHER if seconds > 2 * PATIENCE_S else 1)
    while done < trials and (not done or time.monotonic() + longest_s < end_at):
        start = time.monotonic()
        for name, make in makers.items():
            tallies[name].survived += _survivors(make, count)
            tallies[name].trials += count
        longest_s = max(longest_s, time.monotonic() - start)
        done += count
        count = min(count, trials - done)
    return tallies


def _survivors(make: Maker, count: int) -> int:
    """In how many of so many trials at one time the replacement gets its message."""
    with Peers() as peers:
        trials = [_Trial(make, peers) for _ in range(count)]
        for trial in trials:
            trial.wait_for_processes()
        for trial in trials:
            trial.victim.go()
        time.sleep(SETTLE_S)
        for trial in trials:
            trial.kill()
        deadline = time.monotonic() + PATIENCE_S
        return sum(trial.survives(deadline) for trial in trials)


class _Trial:
    def __init__(self, make: Maker, peers: Peers) -> None:
        self._write_end, read_end = make(peers)
        self.victim = _Reader(read_end, peers)
        self._replacement = _Reader(read_end, peers)

    def wait_for_processes(self) -> None:
        self.victim.wait()
        self._replacement.wait()

    def kill(self) -> None:
        end(self.victim.process)
        self._replacement.go()
        self._write_end.put(_MESSAGE)

    def survives(self, deadline: float) -> bool:
        return self._replacement.heard(deadline)


class _Reader:
    """A process that reads one message when told to, and says what it was over a line of its own."""

    def __init__(self, queue: _Queue, peers: Peers) -> None:
        ours, theirs = SPAWN.Pipe()
        self._line = peers.enter_context(ours)
        with theirs:
            self.process = peers.start(_read_one, queue, theirs)

    def wait(self) -> None:
        if not self._line.poll(START_S):
            message = f"a reader did not start within {START_S:.0f} s"
            raise TimeoutError(message)
        self._line.recv_bytes()

    def go(self) -> None:
        self._line.send_bytes(b"go")

    def heard(self, deadline: float) -> bool:
        if not self._line.poll(max(0.0, deadline - time.monotonic())):
            return False
        return self._line.recv_bytes().decode() == _MESSAGE


def _read_one(queue: _Queue, line: Connection) -> None:
    line.send_bytes(b"here")
    line.recv_bytes()
    line.send_bytes(queue.get().encode())
