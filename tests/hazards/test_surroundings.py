"""What a process finds where it starts: threads with locks, clocks, limits, crowds, and tempting standard tools."""

import ast
import itertools
import logging
import os
import resource
import select
import signal
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from actors import frames
from actors.channel import Channel
from actors.client import Client
from actors.clock import SystemClock
from actors.frames import Welcome
from actors.queues import MessageQueue
from tests.actors.counter import Increment
from tests.actors.owners import decode, encode, local_owner
from tests.actors.systems import OFTEN, System, pid_of
from tests.forking import forked
from tests.polling import until
from tests.processes import ROOT

SESSIONS = 1_000

BEGIN_A_PROCESS = {f"multiprocessing.{name}" for name in ("context", "process", "reduction", "spawn")}
"""Of `multiprocessing`, what has to do with the start of a process; nothing of it is shared between processes."""


def test_hazard_10_fork_with_threads(system: System) -> None:
    """Workers start and work whatever locks the threads of the user's program hold at that moment."""
    held, over = threading.Event(), threading.Event()

    def hold() -> None:
        with logging._lock:  # type: ignore[attr-defined] # no public function holds it for so long
            held.set()
            over.wait()

    thread = threading.Thread(target=hold)
    thread.start()
    try:
        assert held.wait(10)
        system.handle.spawn("w", "tests.hazards.workers:log_and_hold", b"", OFTEN)
        system.ready("w")
    finally:
        over.set()
        thread.join()


def test_hazard_18_clock_of_another_process() -> None:
    """An instant on the runtime's clock means the same in every process, so a deadline can travel."""
    ours, theirs = MessageQueue.pair(float)
    before = SystemClock().monotonic()
    with ours, theirs, forked(lambda: theirs.put(SystemClock().monotonic())):
        assert before <= ours.get(timeout=10) <= SystemClock().monotonic()


def test_hazard_18_clock_that_jumps(monkeypatch: pytest.MonkeyPatch) -> None:
    """The time of day may leap by years between two looks: no call and no deadline depends on it."""
    years = itertools.cycle([0.0, 4e9, -4e9])
    monkeypatch.setattr(SystemClock, "wall", staticmethod(lambda: 1.75e9 + next(years)))
    with local_owner() as owner:
        client = Client(owner.join())
        assert [decode(client.ask(encode(Increment("a")), timeout=5)) for _ in range(20)] == list(range(1, 21))
        client.close()
    assert wall_clock_users() == {"actors/clock.py"}


def wall_clock_users() -> set[str]:
    """The modules of the runtime that read the time of day."""
    return {
        str(path.relative_to(ROOT))
        for path in (ROOT / "actors").glob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Attribute)
        and isinstance(node.value, ast.Name)
        and (node.value.id, node.attr) in {("time", "time"), ("time", "time_ns"), ("datetime", "now")}
    }


@pytest.fixture
def _many_descriptors() -> Iterator[None]:
    """This process may have one for each session."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, min(hard, 4 * SESSIONS)), hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def welcome(channel: Channel) -> Welcome:
    """The greeting of an owner."""
    [frame] = frames.decode_to_worker(until(channel.receive, "a Welcome") or b"")
    assert isinstance(frame, Welcome)
    return frame


@pytest.mark.usefixtures("_many_descriptors")
def test_hazard_22_descriptors_of_a_thousand_sessions(system: System) -> None:
    """All of them are served, and a new owner gets them all; the standard library's forkserver refuses 126 queues."""
    channels = [system.handle.attach() for _ in range(SESSIONS)]
    try:
        assert len({welcome(channel).session for channel in channels}) == SESSIONS
        os.kill(pid_of(system.info("owner")), signal.SIGKILL)
        assert {welcome(channel).epoch for channel in channels} == {2}
        assert system.ask(Increment("a")) == 1
    finally:
        for channel in channels:
            channel.close()


class CountingEpoll:
    """Stands in for epoll and counts how often a descriptor is registered with it."""

    registered = 0

    def __init__(self, epoll: Any) -> None:
        self._epoll = epoll

    def register(self, *args: Any) -> None:
        CountingEpoll.registered += 1
        self._epoll.register(*args)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._epoll, name)


def test_hazard_23_poll_scaling(monkeypatch: pytest.MonkeyPatch) -> None:
    """A descriptor is registered once: what a turn costs does not depend on the sessions that are silent."""
    make = select.epoll
    monkeypatch.setattr("actors.owner.select.epoll", lambda: CountingEpoll(make()))
    CountingEpoll.registered = 0
    with local_owner() as owner:
        silent = [owner.join() for _ in range(100)]
        client = Client(owner.join())
        for _ in range(200):
            assert decode(client.ask(encode(Increment("a")))) > 0
        assert CountingEpoll.registered == len(silent) + 2  # and the line to the supervisor
        client.close()
        for channel in silent:
            channel.close()


def test_hazard_24_manager_and_locks_of_the_standard_library() -> None:
    """No module uses them: neither a `Manager`, nor a queue, lock, event or value that processes share."""
    imported: set[str] = set()
    for path in [*(ROOT / "actors").rglob("*.py"), *(ROOT / "registry").rglob("*.py")]:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                imported.update(alias.name for alias in node.names)
            elif isinstance(node, ast.ImportFrom):
                imported.update(f"{node.module}.{alias.name}" for alias in node.names)
    assert {name for name in imported if name.startswith("multiprocessing")} <= BEGIN_A_PROCESS
