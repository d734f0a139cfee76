"""Programs of their own that write to a journal until something stops them.

Called as `python -m tests.registry.stores.programs NAME PATH ...`.
"""

from __future__ import annotations

import os
import resource
import signal
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

from actors.errors import StartFailed, StorageUnavailable
from actors.journal import Step
from registry import commands as c
from registry.kinds import BackendStatus
from tests.registry.state.driver import State, backend
from tests.registry.stores.journals import TURN, WALL_S, opened, taken

PER_TURN = 3
"""Steps of a turn of `write`."""


def turn_number(state: State, number: int) -> list[Step]:
    """The steps of a turn, the same whenever they are asked for in the same order."""
    commands: list[c.Command] = [
        c.AddBackend(backend(f"b{number}", *(f"model-{index}" for index in range(number % 20)))),
        c.UpdateStatus(f"b{number // 2 + 1}", BackendStatus.UNHEALTHY, f"down {number}"),
        c.RemoveBackend(f"b{number // 3}")
        if number % 3 == 0
        else c.UpdateStatus(f"b{number}", BackendStatus.UNKNOWN, None),
    ]
    steps = []
    for at, command in enumerate(commands, 1):
        state.apply(command)
        steps.append(Step(PER_TURN * (number - 1) + at, 1, type(command).__name__, WALL_S + number, taken(state)))
    return steps


def write(path: Path) -> None:
    """Store turn after turn, and say the number of each once it is stored."""
    with closing(opened(path)) as journal:
        state = State()
        for number in range(1, 1_000_000):
            journal.commit(turn_number(state, number), number, TURN)
            os.write(1, number.to_bytes(4, "big"))


def allow(size: int) -> None:
    """Let no file grow beyond a size, in bytes; -1 for any size."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))


def fill(path: Path, room: str) -> None:
    """Store turns until there is no room, then a few more, then make room and store the rest; says what happened."""
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    state = State()
    stored = refused = 0
    with closing(opened(path)) as journal:
        allow(int(room))
        number = 1
        while number <= 200:
            steps = turn_number(state, number)
            while True:
                try:
                    journal.commit(steps, number, TURN)
                    break
                except StorageUnavailable:
                    refused += 1
                    assert journal.holds(number - 1)
                    assert not journal.holds(number)
                    assert len(list(journal.load().rows)) > 0
                    if refused == 3:
                        allow(-1)
            stored += 1
            number += 1
    print(stored, refused, flush=True)  # noqa: T201 - it is what the test reads


def start(path: Path, room: str) -> None:
    """Open a file where there is little or no room, read it, try to write, make room and write; says what happened."""
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    allow(int(room))
    try:
        with closing(opened(path)) as journal:
            loaded = journal.load()
            rows = len(list(loaded.rows))
            state = State(backend("later"))
            step = Step(loaded.revision + 1, 1, "AddBackend", WALL_S, taken(state))
            refused = False
            try:
                journal.commit([step], 1_000, TURN)
            except StorageUnavailable:
                refused = not journal.holds(1_000)
            allow(-1)
            if refused:
                journal.commit([step], 1_000, TURN)
            said = f"{rows} rows, {'refused' if refused else 'stored'} and {journal.holds(1_000)}"
            print(said, flush=True)  # noqa: T201 - it is what the test reads
    except StartFailed as error:
        print(f"{type(error).__name__}: {error}", flush=True)  # noqa: T201 - the same


if __name__ == "__main__":
    programs: dict[str, Callable[..., None]] = {"write": write, "fill": fill, "start": start}
    programs[sys.argv[1]](Path(sys.argv[2]), *sys.argv[3:])
