"""Totals and latency averages: not durable, yet at most a second of them is lost with the whole system."""

from __future__ import annotations

import json
import logging
import os
import signal
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path

import pytest

from actors.journal import SavedRow
from actors.turns.saving import EVERY_S
from registry import Backend, Supervisor
from registry import commands as c
from registry.state.rules import DEFAULT_RULES
from tests.polling import until
from tests.registry.state.driver import backend
from tests.registry.state.lives import Life
from tests.registry.state.pictures import picture
from tests.registry.stores.journals import Flaky


class Watched(Flaky):
    """A journal that counts what is saved."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.saved: list[int] = []

    def save(self, rows: Sequence[SavedRow]) -> None:
        super().save(rows)
        self.saved.append(len(rows))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where the journal is."""
    return tmp_path / "registry.db"


@pytest.fixture
def journal(path: Path) -> Iterator[Watched]:
    """An open journal."""
    journal = Watched(path)
    yield journal
    journal.close()


@pytest.fixture
def life(journal: Watched) -> Life:
    """A registry with two backends."""
    life = Life(journal)
    for id in ("a", "b"):
        life.do(c.AddBackend(backend(id, "m")))
    return life


def count(life: Life, times: int = 1, id: str = "a") -> None:
    """Count requests that have ended."""
    for _ in range(times):
        life.do(c.IncrementTotalRequests(id))


def total(life: Life, id: str = "a") -> int:
    """How many of them the registry knows of."""
    state = life.actor.backends.state(id)
    assert state is not None
    return state.total_requests


def test_at_most_a_second_is_lost(life: Life) -> None:
    """After the loss of everything but the file, counts are those of the latest second that was saved."""
    count(life, 3)
    life.do(c.UpdateLatency("a", 80))
    life.tick(EVERY_S)
    count(life)
    life.next_system()
    state = life.actor.backends.state("a")
    assert state is not None
    assert (state.total_requests, state.avg_latency_ms) == (3, 80)


def test_what_goes_with_a_durable_change_is_stored_with_it(life: Life, journal: Watched) -> None:
    """A service that a heartbeat has just made healthy again is so after the loss of everything but the file."""
    life.do(c.RegisterService("s", "h", 1, "h", "http://h:1", "running"))
    life.live(DEFAULT_RULES.heartbeat_timeout_s + EVERY_S)
    record = life.actor.services.records.get("s")
    assert record is not None
    assert not record.is_healthy
    journal.saved.clear()
    life.do(c.Heartbeat("s"))
    assert journal.saved == []
    life.next_system()
    life.tick(0.0)
    life.join(1)
    assert life.do(c.GetService("s"))["is_healthy"]


def test_nothing_is_lost_at_an_orderly_end(life: Life, path: Path) -> None:
    """The owner saves before it leaves."""
    count(life, 3)
    life.engine.close()
    life.next_system(Flaky(path))
    assert total(life) == 3
    life.journal.close()


def test_a_successor_goes_on_with_the_latest(life: Life) -> None:
    """While the session log is there nothing is lost, and a new owner saves what its predecessor had not."""
    count(life, 3)
    life.tick(EVERY_S)
    count(life)
    life.next_owner()
    assert total(life) == 4
    life.tick(EVERY_S)
    life.next_system()
    assert total(life) == 4


def test_the_second_owner_of_a_system_knows_what_the_first_has_found(life: Life) -> None:
    """Counts from before the start of the system are in its session log."""
    count(life, 3)
    life.tick(EVERY_S)
    life.next_system()
    life.next_owner()
    assert total(life) == 3


def test_what_was_undone_is_not_saved(life: Life) -> None:
    """Counts of a batch that was refused are not in the file."""
    life.say_batch([c.IncrementTotalRequests("a"), c.RemoveBackend("nobody")], atomic=True)
    life.commit()
    life.tick(EVERY_S)
    life.next_system()
    assert total(life) == 0


def test_a_removed_backend_takes_its_counts_along(life: Life) -> None:
    """One of the same id begins at zero, however soon everything ends."""
    count(life, 3)
    life.tick(EVERY_S)
    life.do(c.RemoveBackend("a"))
    life.next_system()
    assert "a" not in life.actor.backends.counters
    life.join(1)
    life.do(c.AddBackend(backend("a", "m")))
    assert total(life) == 0


def test_saving_is_rare_and_brief(life: Life, journal: Watched) -> None:
    """Once a second at most, only what has changed, and nothing at all where nothing has."""
    life.tick(EVERY_S)
    assert journal.saved == []
    count(life, 5)
    life.tick(EVERY_S)
    count(life, 5)
    life.tick(EVERY_S / 2)
    assert journal.saved == [1]
    life.tick(EVERY_S / 2)
    life.tick(EVERY_S)
    assert journal.saved == [1, 1]


def test_a_new_owner_saves_only_what_differs(life: Life, journal: Watched) -> None:
    """What the file has as it is, is not written once more."""
    count(life, id="a")
    count(life, id="b")
    life.tick(EVERY_S)
    count(life, id="b")
    life.next_owner()
    life.tick(EVERY_S)
    assert journal.saved == [2, 1]


def test_saving_is_no_change(life: Life, journal: Watched) -> None:
    """It takes no revision and has no history."""
    before = picture(life.engine), life.engine.turn.revision, len(list(journal.history(0)))
    count(life)
    life.do(c.IncrementPending("a"))
    life.do(c.DecrementPending("a"))
    life.tick(EVERY_S)
    assert journal.saved == [1]
    assert (life.engine.turn.revision, len(list(journal.history(0)))) == before[1:]


def test_a_full_disk_delays_it(life: Life, journal: Watched, caplog: pytest.LogCaptureFixture) -> None:
    """What cannot be saved is counted all the same, said once, and saved when there is room again."""
    count(life, 3)
    journal.fails = True
    with caplog.at_level(logging.WARNING):
        for _ in range(3):
            life.tick(EVERY_S)
    assert caplog.text.count("cannot be saved") == 1
    journal.fails = False
    life.tick(EVERY_S)
    life.next_system()
    assert total(life) == 3


def test_totals_outlive_the_kill_of_all_processes(tmp_path: Path) -> None:
    """What was saved before supervisor and owner are killed is there in the next system."""
    with Supervisor(tmp_path) as first:
        first.registry.add_backend(Backend(url="http://a", id="a"))
        for _ in range(3):
            first.registry.increment_total_requests("a")

        def saved() -> list[int]:
            with closing(sqlite3.connect(tmp_path / "registry.db")) as db:
                return [json.loads(record)[0] for (record,) in db.execute("SELECT record FROM counters")]

        until(lambda: saved() == [3], "the counts are saved")
        owner = next(info.pid for info in first.processes() if info.name == "owner")
        assert owner is not None
        os.kill(first.pid, signal.SIGSTOP)  # it must not start another owner
        os.kill(owner, signal.SIGKILL)
        os.kill(first.pid, signal.SIGKILL)
    with Supervisor(tmp_path) as second:
        view = second.registry.get_backend("a")
        assert view is not None
        assert view.total_requests == 3
