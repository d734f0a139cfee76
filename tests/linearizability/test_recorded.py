"""Real processes, some of them killed: what they saw is linearizable; what those of a broken owner saw is not."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path

import pytest

from registry import Supervisor
from tests.linearizability.broken import DEATHS
from tests.linearizability.history import Operation
from tests.linearizability.scene import Scene, playing, seeded, verdicts

APART, TOGETHER = ("a", "b", "c", "d"), ("a", "b", "c")


class MortalSupervisor(Supervisor):
    """Its first owners die by themselves between a transaction and its answers."""

    _actor = "tests.linearizability.broken:build_mortal"


class StaleSupervisor(Supervisor):
    """Its owner answers reads from an old copy."""

    _actor = "tests.linearizability.broken:build_stale_reads"


class LossySupervisor(Supervisor):
    """Its owner loses increments."""

    _actor = "tests.linearizability.broken:build_lost_increments"


class LeakySupervisor(Supervisor):
    """Its owner gives nothing back when a process ends."""

    _actor = "tests.linearizability.broken:build_leaky_ends"


class ForgetfulSupervisor(Supervisor):
    """Its owners do what is sent again again."""

    _actor = "tests.linearizability.broken:build_forgetful"


def undisturbed(
    directory: Path, chance: random.Random, *, apart: bool, supervisor: type[Supervisor] = Supervisor
) -> list[Operation]:
    """The history of a few workers of which the test kills none."""
    scene = Scene(
        directory,
        chance,
        backends=APART if apart else TOGETHER,
        apart=apart,
        operations=1_000,
        supervisor=supervisor,
    )
    with playing(scene):
        scene.begin(workers=4)
        return scene.finish()


@pytest.mark.parametrize("apart", [True, False])
def test_history_of_living_processes_is_linearizable(tmp_path: Path, *, apart: bool) -> None:
    """Several processes that change and read the same backends see one order."""
    history = undisturbed(tmp_path, seeded(), apart=apart)
    assert len(history) > 3_000
    for verdict in verdicts(history):
        assert verdict.linearizable, verdict.explain()


@pytest.mark.parametrize("apart", [True, False])
def test_history_with_kills_is_linearizable(tmp_path: Path, *, apart: bool) -> None:
    """They see one order too while workers, the owner, and both at one time are killed at whatever they are doing."""
    chance = seeded()
    scene = Scene(tmp_path, chance, backends=APART if apart else TOGETHER, apart=apart, operations=1_000)
    with playing(scene):
        scene.begin(workers=5)
        kills: list[Callable[[], None]] = [
            scene.kill_owner,
            scene.kill_worker,
            scene.kill_worker,
            lambda: scene.kill_worker(with_owner=True),
        ]
        chance.shuffle(kills)
        for moment, kill in zip(sorted(chance.sample(range(50, 1_500), len(kills))), kills, strict=True):
            scene.wait_for(operations=moment)
            kill()
        history = scene.finish()
    for verdict in verdicts(history):
        assert verdict.linearizable, verdict.explain()


def test_history_with_deaths_between_transaction_and_answers_is_linearizable(tmp_path: Path) -> None:
    """What an owner has stored and not answered is done once, though it is sent again to the next one."""
    history = undisturbed(tmp_path, seeded(), apart=True, supervisor=MortalSupervisor)
    assert len((tmp_path / "state" / "lives").read_text(encoding="ascii")) == 1 + DEATHS
    for verdict in verdicts(history):
        assert verdict.linearizable, verdict.explain()


@pytest.mark.parametrize(
    ("broken", "apart"),
    [(StaleSupervisor, True), (LossySupervisor, False), (LeakySupervisor, False), (ForgetfulSupervisor, True)],
)
def test_history_of_a_broken_owner_is_refused(tmp_path: Path, broken: type[Supervisor], *, apart: bool) -> None:
    """An owner that breaks the promise is found out by what its processes saw."""
    history = undisturbed(tmp_path, seeded(), apart=apart, supervisor=broken)
    assert not all(verdict.linearizable for verdict in verdicts(history))
