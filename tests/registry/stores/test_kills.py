"""A writer that is killed at any moment leaves whole turns, and all of which it said that they are stored."""

from __future__ import annotations

import random
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from tests.processes import ROOT
from tests.registry.state.driver import State
from tests.registry.stores.journals import TURN, opened, reopened
from tests.registry.stores.programs import PER_TURN, turn_number


def written_until_killed(path: Path, chance: random.Random) -> int:
    """Let a program write, kill it after a random number of turns and a random moment; the last turn it told of."""
    enough = chance.randrange(1, 400)
    program = [sys.executable, "-m", "tests.registry.stores.programs", "write", str(path)]
    with subprocess.Popen(program, cwd=ROOT, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        try:
            told = process.stdout.read(4 * enough)
            for _ in range(chance.randrange(20_000)):
                pass
        finally:
            process.kill()
        told += process.stdout.read()
    assert len(told) >= 4 * enough, "it ended by itself"
    return int.from_bytes(told[-4:], "big")


@pytest.mark.parametrize("trial", range(5))
def test_killed_writer(tmp_path: Path, trial: int) -> None:  # noqa: ARG001 - each trial has a seed of its own
    """After a SIGKILL the file holds the turns up to the last one told of, or one more, whole, with their history."""
    seed = random.randrange(2**32)
    sys.stderr.write(f"seed {seed}\n")
    path = tmp_path / "registry.db"
    told = written_until_killed(path, random.Random(seed))
    rows, revision, latest = reopened(path)
    assert latest is not None
    number, record = latest
    assert number in {told, told + 1}
    assert (revision, record) == (PER_TURN * number, TURN)
    state = State()
    steps = [step for turn in range(1, number + 1) for step in turn_number(state, turn)]
    assert list(rows.items()) == [(("backends", id), one) for id, one in state.actor.backends.records.items()]
    with closing(opened(path)) as journal:
        assert [(step.revision, step.cause) for step in journal.history(0)] == [
            (step.revision, step.cause) for step in steps
        ]
    assert {file.name for file in path.parent.iterdir()} == {"registry.db"}
    assert path.stat().st_mode & 0o777 == 0o600
