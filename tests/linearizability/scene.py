"""A system of real processes that record what they do, and of which some are killed while they do it."""

from __future__ import annotations

import os
import random
import signal
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import msgspec

from actors.exits import Exit
from actors.processes.restarts import Restart
from registry import Supervisor, Worker
from tests.linearizability import history, model
from tests.linearizability.checker import Verdict, check
from tests.linearizability.history import Operation, Recorder
from tests.linearizability.recording import (
    BEGIN_GATE,
    END_GATE,
    Gate,
    Plan,
    RecordedRegistry,
    history_path,
    ready_path,
    work,
)
from tests.polling import until

SEED = "ACTOR_REGISTRY_LINEARIZABILITY_SEED"
"""The environment variable that makes a run choose the same operations and kills as another one."""

OBSERVER = 0
"""The number of the test's own process."""

CLEAN, KILLED = Exit(0, None), Exit(None, signal.SIGKILL)


def seeded() -> random.Random:
    """Chance whose seed a test that fails shows."""
    seed = int(os.environ.get(SEED) or random.SystemRandom().randrange(2**32))
    sys.stdout.write(f"{SEED}={seed}\n")
    return random.Random(seed)


class Scene:
    """A system, its worker processes, and what is known of their ends.

    Args:
        directory: Where everything is written down; the system's own directory is in it.
        chance: Chooses what is done and who is killed.
        backends: Ids of the backends that there are.
        apart: See `Plan`.
        operations: How many each worker process does.
        supervisor: What starts the system.
    """

    def __init__(
        self,
        directory: Path,
        chance: random.Random,
        *,
        backends: Sequence[str],
        apart: bool,
        operations: int,
        supervisor: type[Supervisor] = Supervisor,
    ) -> None:
        self._directory = directory
        self._chance = chance
        self._operations = operations
        self._backends = tuple(backends)
        self._apart = apart
        self._gates = {name: Gate(directory / name) for name in (BEGIN_GATE, END_GATE)}
        self._recorder = Recorder(history_path(directory, OBSERVER))
        self._workers: dict[int, Worker] = {}
        self._ends: dict[int, Operation] = {}
        self.supervisor = supervisor(directory / "state")
        self._observer = RecordedRegistry(self.supervisor.registry, self._recorder)

    def close(self) -> None:
        """End the system."""
        for gate in self._gates.values():
            gate.open()
        self.supervisor.stop()
        self._recorder.close()

    # -- the run -----------------------------------------------------------------------------------------------

    def begin(self, workers: int) -> None:
        """Add the backends, and let so many worker processes begin at one time."""
        for id in self._backends:
            self._observer.add_backend(id, self._plan(OBSERVER).models_of(id))
        for process in range(1, workers + 1):
            plan = msgspec.msgpack.encode(self._plan(process))
            self._workers[process] = self.supervisor.spawn_with(
                Restart.TEMPORARY, None, work, str(self._directory), plan
            )
        for process in self._workers:
            until(ready_path(self._directory, process).exists, "the owner knows the worker", 30)
        self._gates[BEGIN_GATE].open()

    def wait_for(self, operations: int) -> None:
        """Wait until all together have done so many operations, which must not be more than those who live can do."""
        until(lambda: self._operations_done() >= operations, f"{operations} operations", 30)

    def kill_owner(self) -> None:
        """Kill it at whatever it is doing; its successor starts by itself."""
        os.kill(self._owner(), signal.SIGKILL)

    def kill_worker(self, *, with_owner: bool = False) -> None:
        """Kill one at whatever it is doing, and wait until the owner has seen its end.

        Args:
            with_owner: Whether the owner is killed too, shortly before or shortly after.
        """
        process = self._chance.choice(sorted(self._workers))
        worker = self._workers.pop(process)
        assert worker.pid is not None
        killed = [worker.pid, *([self._owner()] if with_owner else [])]
        self._chance.shuffle(killed)
        begun_ns = time.monotonic_ns()
        for pid in killed:
            os.kill(pid, signal.SIGKILL)
        assert worker.join(10) == KILLED
        self._saw_ends({process: begun_ns})

    def finish(self) -> list[Operation]:
        """Let all workers do the rest and leave, look at what is left, and return the whole history."""
        self._gates[END_GATE].open()
        for worker in self._workers.values():
            assert worker.join(60) == CLEAN
        left = {process: self._recorded(process)[-1].called_ns for process in self._workers}
        self._workers.clear()
        self._saw_ends(left)
        for id in self._backends:
            self._observer.add_backend(id, ())  # if it is not there: leases on it would show all the same
            self._observer.get_backend(id)
        if not self._apart:
            self._observer.get_all_backends()
        recorded = [one for process in (OBSERVER, *self._ends) for one in self._recorded(process)]
        return [*(one for one in recorded if one.name != model.END), *self._ends.values()]

    # -- its parts ---------------------------------------------------------------------------------------------

    def _plan(self, process: int) -> Plan:
        return Plan(process, self._chance.randrange(2**32), self._operations, self._backends, self._apart)

    def _owner(self) -> int:
        def pid() -> int | None:
            return next(info.pid for info in self.supervisor.processes() if info.name == "owner")

        return until(pid, "an owner runs") or 0

    def _saw_ends(self, begun_ns: dict[int, int]) -> None:
        """Wait until the owner has no other session than those of the workers that live, and the test's own."""
        expected = len(self._workers) + 1
        registry = self.supervisor.registry
        until(lambda: registry.owner_statistics().sessions == expected, "the owner has ended the sessions")
        now_ns = time.monotonic_ns()
        self._ends |= {process: Operation(process, model.END, (), at, now_ns) for process, at in begun_ns.items()}

    def _recorded(self, process: int) -> list[Operation]:
        return list(history.read(history_path(self._directory, process), process))

    def _operations_done(self) -> int:
        """How many were written down so far; each has a line for its call and one for its return."""
        return sum(path.read_bytes().count(b"\n") for path in self._directory.glob("*.history")) // 2


@contextmanager
def playing(scene: Scene) -> Iterator[Scene]:
    """A scene that ends with the block."""
    try:
        yield scene
    finally:
        scene.close()


def verdicts(operations: Sequence[Operation]) -> list[Verdict]:
    """What the checker says of each part of a history."""
    return [check(part, model.Registry(), model.step) for part in model.partitions(operations)]
