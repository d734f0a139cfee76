"""The contenders of the queue benchmark that need no registry: each gives a call that goes to another process and back.

What runs in the other processes is here too, so that they import little.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import AbstractContextManager
from multiprocessing.connection import Connection
from multiprocessing.managers import DictProxy, SyncManager
from typing import Any, Protocol

from actors.queues import MessageQueue
from bench.processes import SPAWN, Peers, end_with_parent, without_interrupts

Message = dict[str, str]
"""What travels through the queues: about what the ask carries."""

MESSAGE: Message = {"type": "IncrementPending", "id": "127.0.0.1:8000"}


class _Queue(Protocol):
    """The part of a queue that a round trip needs."""

    def put(self, item: Message, /) -> None: ...
    def get(self) -> Message: ...


def raw_pipes(peers: Peers) -> Callable[[], object]:
    """One byte there and back over two pipes, with nothing between them and the kernel."""
    there_end, there_fd = _pipe(peers)
    back_fd, back_end = _pipe(peers)
    peers.start(_echo_bytes, there_end, back_end)
    there = there_fd.fileno()
    back = back_fd.fileno()

    def ping_pong() -> None:
        os.write(there, b"x")
        os.read(back, 1)

    return ping_pong


def _pipe(peers: Peers) -> tuple[Connection, Connection]:
    """A plain `os.pipe`, reading end first, in the wrapping in which a process can be given it."""
    reading, writing = SPAWN.Pipe(duplex=False)
    return peers.enter_context(reading), peers.enter_context(writing)


def _echo_bytes(requests: Connection, answers: Connection) -> None:
    while byte := os.read(requests.fileno(), 1):
        os.write(answers.fileno(), byte)


def simple_queues(peers: Peers) -> Callable[[], object]:
    """A request and its answer over two `multiprocessing.SimpleQueue`s."""
    return _round_trip(peers, SPAWN.SimpleQueue(), SPAWN.SimpleQueue())


def standard_queues(peers: Peers) -> Callable[[], object]:
    """A request and its answer over two `multiprocessing.Queue`s."""
    requests = SPAWN.Queue()
    answers = SPAWN.Queue()
    for queue in (requests, answers):
        peers.callback(queue.cancel_join_thread)
        peers.callback(queue.close)
    return _round_trip(peers, requests, answers)


def message_queue(peers: Peers) -> Callable[[], object]:
    """A request and its answer over one `MessageQueue`, which has two directions."""
    ours, theirs = MessageQueue.pair(Message)
    peers.enter_context(ours)
    with theirs:
        peers.start(_echo_queue, theirs, theirs)

    def round_trip() -> None:
        ours.put(MESSAGE)
        ours.get()

    return round_trip


def _round_trip(peers: Peers, requests: _Queue, answers: _Queue) -> Callable[[], object]:
    peers.start(_echo_queue, requests, answers)

    def round_trip() -> None:
        requests.put(MESSAGE)
        answers.get()

    return round_trip


def _echo_queue(requests: _Queue, answers: _Queue) -> None:
    while True:
        answers.put(requests.get())


def manager(peers: Peers) -> SyncManager:
    """The server process of a `multiprocessing.Manager`."""
    server = SyncManager(ctx=SPAWN)
    with without_interrupts():
        server.start(end_with_parent)
    peers.callback(server.shutdown)
    return server


class ManagerCount:
    """A number in a `Manager().dict` under a `Manager().Lock`: right however many processes change it."""

    def __init__(self, peers: Peers) -> None:
        server = manager(peers)
        self._counts = server.dict(pending=0)
        self._lock = server.Lock()
        self._peers = peers

    def increment(self) -> None:
        """Add one."""
        _increment(self._counts, self._lock)

    def read(self) -> int:
        """The number."""
        return self._counts["pending"]

    def crowd(self, count: int) -> list[int]:
        """So many processes that increment without end; their ids."""
        starting = [self._peers.start(_increment_for_ever, self._counts, self._lock) for _ in range(count)]
        return [process.pid or 0 for process in starting]


def _increment(counts: DictProxy[str, int], lock: AbstractContextManager[Any]) -> None:
    with lock:
        counts["pending"] = counts["pending"] + 1


def _increment_for_ever(counts: DictProxy[str, int], lock: AbstractContextManager[Any]) -> None:
    while True:
        _increment(counts, lock)
