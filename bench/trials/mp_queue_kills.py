"""The trial of `worker_kills` on a `multiprocessing.Queue`: workers that share it for their requests are killed.

A server reads the requests and answers each worker over a pipe of its own. The queue's lock belongs to nobody: when a
worker dies while it writes, no other one can write any more.
"""

from __future__ import annotations

import os
import random
import signal
import tempfile
import time
from collections.abc import Iterator, Sequence
from multiprocessing.connection import Connection
from multiprocessing.queues import Queue
from pathlib import Path

from bench.figures import Figure
from bench.processes import SPAWN, Peers
from bench.trials.board import Board, Word
from bench.trials.waiting import wait_until

OTHERS = 8

LIFE_S = 0.03
"""As for the victims of ours."""

MUTE_S = 1.0
"""Workers of which none has had an answer for so long have none any more; it takes well under a millisecond."""

MAX_KILLS = 100
"""More are not tried in one trial."""


def run(seconds: float, chance: random.Random) -> Iterator[Figure]:
    """Kill until all the others are mute, or the time is over."""
    end = time.monotonic() + seconds
    with Peers() as peers:
        trial = _Trial(peers)
        kills = 0
        mute = False
        while not mute and kills < MAX_KILLS and (not kills or time.monotonic() < end):
            trial.kill_one(chance)
            kills += 1
            mute = trial.mute()
    about = "the same with requests over one multiprocessing.Queue: kills"
    end_of_it = "until all others were mute for ever" if mute else "that it survived in this time"
    yield Figure("mp_queue_worker_kills", kills, "kills", about=f"{about} {end_of_it}")
    yield Figure("mp_queue_mute_others", OTHERS if mute else 0, f"of {OTHERS}", about="of those, how many were mute")


class _Trial:
    def __init__(self, peers: Peers) -> None:
        self._peers = peers
        self._requests: Queue[int] = SPAWN.Queue()
        peers.callback(self._requests.cancel_join_thread)
        peers.callback(self._requests.close)
        directory = Path(peers.enter_context(tempfile.TemporaryDirectory(prefix="bench-faults-")))
        self._board = Board.create(directory / "board")
        self._lines = [SPAWN.Pipe(duplex=False) for _ in range(OTHERS + 1)]  # the victims follow each other on one
        for reading, writing in self._lines:
            peers.enter_context(reading)
            peers.enter_context(writing)
        peers.start(_answer, self._requests, [writing for _, writing in self._lines])
        self._others = [self._board.slot(number) for number in range(OTHERS)]
        for number in range(OTHERS):
            self._start(number)
        for words in self._others:
            self._wait_for_answers(words)

    def _start(self, number: int) -> None:
        pause_s = 0.005 if number < OTHERS else 0.0
        self._peers.start(_request_for_ever, self._requests, self._lines[number][0], number, self._board.path, pause_s)

    def _wait_for_answers(self, words: memoryview[int]) -> bool:
        return wait_until(lambda: words[Word.ANSWERS])

    def kill_one(self, chance: random.Random) -> None:
        """Start a worker, and kill it in the midst of its work."""
        words = self._board.slot(OTHERS)
        words[Word.ANSWERS] = 0
        self._start(OTHERS)
        self._wait_for_answers(words)
        time.sleep(chance.uniform(0.0, LIFE_S))
        os.kill(words[Word.PID], signal.SIGKILL)

    def mute(self) -> bool:
        """Whether none of the others has an answer any more."""
        before = [words[Word.ANSWERS] for words in self._others]
        return not wait_until(lambda: [words[Word.ANSWERS] for words in self._others] != before, MUTE_S)


def _answer(requests: Queue[int], lines: Sequence[Connection]) -> None:
    while True:
        lines[requests.get()].send_bytes(b"done")


def _request_for_ever(requests: Queue[int], answers: Connection, number: int, board: Path, pause_s: float) -> None:
    words = Board(board).slot(number)
    words[Word.PID] = os.getpid()
    while True:
        requests.put(number)
        answers.recv_bytes()
        words[Word.ANSWERS] += 1
        time.sleep(pause_s)
