"""Watching the registry's changes, and their history, with real processes on both faces."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import islice

import pytest

from registry import (
    Backend,
    BackendStatus,
    Change,
    CommandInvalid,
    Compacted,
    Model,
    Registry,
    Restart,
    Supervisor,
    SystemStopped,
)
from registry.errors import InvalidField
from registry.stores import history
from tests.polling import until
from tests.registry.faces import Make
from tests.registry.worker_functions import add_and_end


def backend(id: str) -> Backend:
    """A backend to be added."""
    return Backend(url="http://a:8000", id=id, models=(Model(id="m"),))


@pytest.fixture(scope="module")
def supervisor() -> Iterator[Supervisor]:
    """One system for all tests of this module."""
    with Supervisor() as supervisor:
        yield supervisor


def owner_pid(supervisor: Supervisor) -> int:
    """The process id of the owner at this moment."""
    pid = supervisor.processes()[0].pid
    assert pid is not None
    return pid


def kill_owner(supervisor: Supervisor) -> None:
    """Kill the owner and wait for the next one."""
    before = owner_pid(supervisor)
    os.kill(before, signal.SIGKILL)
    until(lambda: supervisor.processes()[0].pid not in {None, before}, "the next owner runs")


def test_every_change_is_told_with_what_it_did(make: Make) -> None:
    """Each has its revision, its time, its session and process, its cause, and the records before and after."""
    registry = make()
    registry.add_backend(backend("told"))
    since = registry.revision
    registry.update_status("told", BackendStatus.HEALTHY)
    registry.remove_backend("told")
    status, removal = islice(registry.watch(since), 2)
    assert [(one.revision, one.cause) for one in (status, removal)] == [
        (since + 1, "UpdateStatus"),
        (since + 2, "RemoveBackend"),
    ]
    assert timedelta(0) <= datetime.now(UTC) - status.at < timedelta(minutes=1)
    assert status.session == registry.statistics().session
    assert status.by == f"attached pid {os.getpid()}"
    [row] = status.rows
    assert (row.table, row.key) == ("backends", "told")
    assert (row.before["status"], row.after["status"]) == ("unknown", "healthy")
    assert [(row.before["id"], row.after) for row in removal.rows] == [("told", None)]


def test_a_worker_is_named_in_the_history(supervisor: Supervisor) -> None:
    """By the name it was given, whether it is alive or not."""
    registry = supervisor.registry
    since = registry.history(None, limit=1)[-1].revision if registry.history(None, limit=1) else 0
    worker = supervisor.spawn_with(Restart.TEMPORARY, "adder-1", add_and_end, "named")
    assert worker.join(10) is not None
    [change] = registry.history(since)
    assert (change.cause, change.by) == ("AddBackend", "adder-1")
    registry.remove_backend("named")


def test_an_atomic_batch_is_one_change(make: Make) -> None:
    """Whoever watches sees all of it or nothing; each of a plain batch's commands is a change of its own."""
    registry = make()
    changes = registry.watch(registry.history(None)[-1].revision)
    add, remove = Registry.add_backend.call, Registry.remove_backend.call
    registry.batch([add(backend("x")), add(backend("y"))], atomic=True)
    registry.batch([remove("x"), remove("y")])
    together, *apart = islice(changes, 3)
    assert (together.cause, [row.key for row in together.rows]) == ("Batch", ["x", "y"])
    assert [[row.key for row in change.rows] for change in apart] == [["x"], ["y"]]


def test_from_now_on(supervisor: Supervisor) -> None:
    """Without a revision, what was made before is not told."""
    registry = supervisor.registry
    registry.add_backend(backend("before"))
    changes = registry.watch()
    registry.remove_backend("before")
    assert next(changes).cause == "RemoveBackend"


def test_history_is_read_in_as_many_answers_as_it_takes(make: Make) -> None:
    """As many changes as are asked for, from any revision, or the latest ones; an error names a wrong field."""
    registry = make()
    since = registry.history(None)[-1].revision
    for turn in range(120):
        registry.add_backend(backend(f"h{turn}"))
        registry.remove_backend(f"h{turn}")
    expected = list(range(since + 1, since + 241))
    assert [one.revision for one in registry.history(since, limit=1_000)] == expected
    assert [one.revision for one in registry.history(since, limit=7)] == expected[:7]
    assert [one.revision for one in registry.history(None, limit=230)] == expected[-230:]
    assert registry.history(expected[-1]) == []
    with pytest.raises(CommandInvalid, match="since"):
        registry.history(expected[-1] + 1)
    with pytest.raises(InvalidField, match="limit"):
        registry.history(0, limit=0)


def test_nothing_is_missed_when_the_owner_is_killed(supervisor: Supervisor, make: Make) -> None:
    """A watch tells every revision once and in order, whichever owner made it."""
    watching, changing = make(), supervisor.registry
    changes = watching.watch(changing.history(None)[-1].revision)
    told: list[Change] = []

    def watch() -> None:
        told.extend(islice(changes, 60))

    thread = threading.Thread(target=watch)
    thread.start()
    for turn in range(30):
        changing.add_backend(backend(f"k{turn}"))
        changing.remove_backend(f"k{turn}")
        if turn == 15:
            kill_owner(supervisor)
    thread.join(30)
    assert [one.revision for one in told] == list(range(told[0].revision, told[0].revision + 60))
    assert [(one.cause, one.rows[0].key) for one in told] == [
        (cause, f"k{turn}") for turn in range(30) for cause in ("AddBackend", "RemoveBackend")
    ]


def test_what_is_compacted_is_said_and_the_watch_can_go_on(make: Make) -> None:
    """The error names the oldest change that is kept, from which on nothing is missing."""
    registry = make()
    big = Backend(url="http://a:8000", id="big", metadata={str(number): "x" * 4_000 for number in range(100)})
    for _ in range((history.MAX_BYTES + history.SLACK_BYTES) // 800_000 + 3):
        registry.batch([Registry.add_backend.call(big), Registry.remove_backend.call("big")])
    with pytest.raises(Compacted) as gone:
        next(registry.watch(0))
    assert gone.value.since == 0
    with pytest.raises(Compacted):
        registry.history(0)
    oldest = gone.value.oldest
    assert next(registry.watch(oldest - 1)).revision == oldest
    kept = registry.history(None, limit=10_000)
    assert [one.revision for one in kept] == list(range(oldest, oldest + len(kept)))


def test_a_watch_ends_with_the_system() -> None:
    """Whoever waits for a change is told when the system has stopped."""
    with Supervisor() as supervisor:
        watching = Registry(supervisor._handle.attach())
        changes = watching.watch()
        errors: list[Exception] = []

        def watch() -> None:
            try:
                next(changes)
            except SystemStopped as error:
                errors.append(error)

        thread = threading.Thread(target=watch)
        thread.start()
        until(lambda: supervisor.registry.owner_statistics().sessions == 2, "both sessions are there")
    thread.join(10)
    watching.close()
    assert len(errors) == 1
