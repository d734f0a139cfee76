"""A system with callers that can be made quiet, so that what it holds can be compared with what they know."""

from __future__ import annotations

import logging
import os
import random
import signal
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path

from actors.channel import Channel
from actors.processes.restarts import Restart, RestartPolicy
from bench.trials.board import BACKENDS, END, Board, Common, Word
from bench.trials.callers import MODEL, backend_id, call_for_ever
from bench.trials.model import Difference, compare, expected, found
from bench.trials.waiting import LOOK_S, wait_until
from registry import Backend, BackendStatus, Model, Registry, Supervisor

SETTLE_S = 5.0
"""How long it may take until what the dead held is given back; it takes milliseconds."""


class Load:
    """A running registry and some callers.

    Args:
        stack: Ends it all.
        callers: How many.
        chance: What they do follows from this.
        pause_s: See `call_for_ever`.
        data_dir: Where the journal is; a temporary one unless given.

    Attributes:
        supervisor: The system.
        board: What its processes know.
        directory: A directory of the trial's own.
    """

    def __init__(
        self, stack: ExitStack, callers: int, chance: random.Random, pause_s: float = 0.0, data_dir: Path | None = None
    ) -> None:
        self.directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-faults-")))
        self.board = Board.create(self.directory / "board")
        # That the owner was killed and is started again needs no line each time.
        self.supervisor = stack.enter_context(Supervisor(data_dir, log_level=logging.ERROR))
        stack.callback(self._end)
        self._phase = 0
        self._spawned = 0
        for number in range(BACKENDS):
            url = f"http://127.0.0.1:{10_000 + number}"
            shared = Backend(url=url, id=backend_id(number), models=[Model(id=MODEL)], status=BackendStatus.HEALTHY)
            self.registry.add_backend(shared)
        self.slots = [self.board.slot(number) for number in range(callers)]
        for number in range(callers):
            seed = chance.getrandbits(32)
            self.supervisor.spawn(call_for_ever, self.board.path, number, seed, pause_s)
        self.all_answered(callers)

    @property
    def registry(self) -> Registry:
        """The benchmark's own."""
        return self.supervisor.registry

    def all_answered(self, times: int = 3) -> int:
        """Wait until every caller has had some answers more; returns how many callers have not."""
        before = [words[Word.ANSWERS] for words in self.slots]

        def left() -> int:
            pairs = zip(self.slots, before, strict=True)
            return sum(words[Word.ANSWERS] < count + times for words, count in pairs)

        wait_until(lambda: not left())
        return left()

    @property
    def errors(self) -> int:
        """How many errors the callers have seen."""
        return sum(words[Word.ERRORS] for words in self.slots)

    def begin_life(self) -> None:
        """Let the callers look for their longest wait anew."""
        self.board.common[Common.LIFE] += 1

    def difference(self, *, totals: bool = True) -> Difference:
        """Make all callers quiet, compare, and let them go on."""
        self._phase += 1
        self.board.common[Common.PHASE] = self._phase
        if not wait_until(lambda: not self._busy()):
            return Difference(missing=self._busy(), surplus=0)  # at least one answer each
        noted = expected(self.slots)
        wait_until(lambda: not compare(found(self.registry), noted, totals=totals), SETTLE_S)
        difference = compare(found(self.registry), noted, totals=totals)
        self._phase += 1
        self.board.common[Common.PHASE] = self._phase
        return difference

    def _busy(self) -> int:
        """How many callers are not quiet in this phase."""
        return sum(words[Word.QUIET] != self._phase for words in self.slots)

    def spawn_light(self, target: str, payload: bytes) -> None:
        """Start a worker that imports next to nothing and is not started again."""
        self._spawned += 1
        handle = self.supervisor._handle  # noqa: SLF001 - the public way takes functions that are handed a Registry
        handle.spawn(f"light-{self._spawned}", target, payload, RestartPolicy(restart=Restart.TEMPORARY))

    def attach(self) -> Channel:
        """A session without a client, to say over it what no client says."""
        return self.supervisor._handle.attach()  # noqa: SLF001 - the public way gives a client

    @property
    def owner_pid(self) -> int:
        """Process id of the owner, once there is one."""
        while True:
            pid = self.supervisor.processes()[0].pid
            if pid is not None:
                return pid
            time.sleep(LOOK_S)

    def kill_owner(self) -> float:
        """SIGKILL; returns the instant in seconds."""
        pid = self.owner_pid
        self.begin_life()
        instant_s = time.monotonic()
        os.kill(pid, signal.SIGKILL)
        return instant_s

    def _end(self) -> None:
        self.board.common[Common.PHASE] = END
