"""A system that may have few descriptors."""

import resource

import pytest

from actors.errors import SupervisorError
from actors.processes.descriptors import PER_WORKER, RESERVED, need_room_for
from tests.processes import program

SCRIPT = """
import logging, resource
resource.setrlimit(resource.RLIMIT_NOFILE, (200, 200))
from actors.client import Client
from actors.errors import SupervisorError
from actors.handle import Handle, Settings
from actors.processes.restarts import Restart, RestartPolicy
from tests.actors.counter import Increment
from tests.actors.owners import decode, encode
from tests.polling import until

handle = Handle(Settings("tests.actors.counter:build", b"", 1.0, logging.CRITICAL))
client = Client(handle.attach())
count = lambda: decode(client.ask(encode(Increment("a"))))

def fill():
    while True:
        try:
            channels.append(handle.attach())
        except SupervisorError as error:
            return type(error).__name__, str(error)

channels = []
print(*fill(), len(channels), sep="|")
try:
    handle.spawn("w", "tests.actors.workers:hold", b"", RestartPolicy())
except SupervisorError as error:
    print(error)
before = len(channels)
print(count())
while channels:
    channels.pop().close()
until(lambda: handle.statistics().sessions == 1, "the sessions have ended")
fill()
print(len(channels) == before, count(), handle.statistics().epoch)
import os, signal
os.kill(handle.processes()[0].pid, signal.SIGKILL)
until(lambda: handle.statistics().epoch == 2, "the owner is replaced")
print(count(), handle.exit)
handle.stop(1.0)
"""


def test_too_many_sessions_are_refused_and_harm_nobody() -> None:
    """Each refusal is typed and says what to do; the others are served, also by a new owner, and room can be made."""
    with program("-c", SCRIPT) as script:
        assert script.ends(60) == 0, script.stderr
        refused, spawn, counted, again, after = script.stdout.splitlines()
    kind, reason, sessions = refused.split("|")
    assert kind == "SupervisorError"
    assert "as many as a limit of 200 descriptors allows; raise it (`ulimit -n`)" in reason
    assert int(sessions) > 50
    assert "raise it" in spawn
    assert (counted, again, after) == ("1", "True 2 1", "3 None")


def test_room_is_kept_for_the_restart_of_each_worker() -> None:
    """A worker counts with all that it needs, also between two lives."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    free = soft - RESERVED
    need_room_for(1, 2, free - 2 * PER_WORKER - 1)
    with pytest.raises(SupervisorError, match="descriptors"):
        need_room_for(1, 2, free - 2 * PER_WORKER)
    with pytest.raises(SupervisorError, match="descriptors"):
        need_room_for(PER_WORKER, 0, free - 2)


def test_nothing_is_refused_without_a_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    """An unlimited process has room."""
    monkeypatch.setattr(resource, "getrlimit", lambda _: (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    need_room_for(1, 10**9, 10**9)
