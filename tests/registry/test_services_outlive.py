"""Services outlive the processes of the registry, and grow no older while there are none."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from registry import Registry, Supervisor
from registry.errors import InvalidField, ServiceNotFound
from registry.metrics import Metrics
from tests.polling import until


def pid_of(supervisor: Supervisor, name: str) -> int:
    """A process of the system."""
    pid = next(info.pid for info in supervisor.processes() if info.name == name)
    assert pid is not None
    return pid


def register(registry: Registry, name: str) -> None:
    """Register a service that is a backend."""
    registry.register_service(
        name,
        host="h",
        port=8000,
        hostname="h",
        url=f"http://{name}:8000",
        metadata={"type": "openai-api", "models": ["m"]},
        timestamp="then",
    )


def saved(directory: Path) -> set[str]:
    """The services whose heartbeats are in the file, if the clock is there as well."""
    with closing(sqlite3.connect(directory / "registry.db")) as db:
        clock = db.execute("SELECT count(*) FROM lifetime").fetchone()
        return {json.loads(key) for (key,) in db.execute("SELECT key FROM beats")} if clock == (1,) else set()


def test_services_outlive_the_kill_of_all_processes(tmp_path: Path) -> None:
    """With their places, their backends and their heartbeats; one that was removed is unknown."""
    names = ["z", "a", "m", "gone"]
    with Supervisor(tmp_path) as first:
        for name in names:
            register(first.registry, name)
        first.registry.remove_service("gone")
        before = first.registry.get_service("a")
        until(lambda: saved(tmp_path) == {"z", "a", "m"}, "the heartbeats are saved")
        owner = pid_of(first, "owner")
        os.kill(first.pid, signal.SIGSTOP)  # it must not start another owner
        os.kill(owner, signal.SIGKILL)
        os.kill(first.pid, signal.SIGKILL)
    with Supervisor(tmp_path) as second:
        assert second.registry.get_service("a") == before
        assert before.is_healthy
        second.registry.heartbeat("z")
        with pytest.raises(ServiceNotFound):
            second.registry.heartbeat("gone")
        ids = {view.id for view in second.registry.get_all_backends(fresh=True)}
        assert ids == {"z:8000", "a:8000", "m:8000"}
        changes = second.registry.history(0)
        assert [row.table for change in changes[:1] for row in change.rows] == ["services", "backends"]


def test_services_and_uptime_outlive_an_owner(tmp_path: Path) -> None:
    """A new owner goes on with both."""
    with Supervisor(tmp_path) as supervisor:
        registry = supervisor.registry
        register(registry, "s")
        before = registry.get_service("s")

        def metrics() -> Metrics:
            return registry.metrics()

        until(lambda: metrics().uptime_s > 0, "the system has begun")
        first = metrics()
        os.kill(pid_of(supervisor, "owner"), signal.SIGKILL)
        assert registry.get_service("s") == before
        second = metrics()
        assert second.epoch == first.epoch + 1
        assert second.uptime_s > first.uptime_s


def test_what_cannot_be_sent_or_kept_is_refused_by_name(tmp_path: Path) -> None:
    """Numbers that no frame or no JSON can carry, and what is no text, are errors of the metadata."""
    with Supervisor(tmp_path) as supervisor:
        for value in (2**64, -(2**63) - 1, float("nan"), float("-inf"), b"x", "\ud800", object()):
            with pytest.raises(InvalidField) as refusal:
                supervisor.registry.register_service(
                    "s", host="h", port=1, hostname="h", url="http://h:1", metadata={"a": [value]}
                )
            assert refusal.value.field == "metadata"
        with pytest.raises(ServiceNotFound):
            supervisor.registry.get_service("s")
