"""The health checker as a process of a real system; the backends are stand-ins that listen and perhaps answer."""

from __future__ import annotations

import os
import signal
import socket
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import msgspec
import pytest

from actors.processes.restarts import Restart, RestartPolicy
from registry import Backend, BackendStatus, Supervisor, Worker
from registry.addresses import AddressSettings
from registry.health.checker import BACKGROUND_AT_ONCE
from registry.health.start import HealthStart
from registry.kinds import ServiceHealth
from registry.logs import LogSettings
from tests.polling import until
from tests.registry.health.stand_in import listing

FOR_EVER_S = 600.0


@pytest.fixture
def supervisor() -> Iterator[Supervisor]:
    """A system without a health checker."""
    with Supervisor() as one:
        yield one


def start_checker(supervisor: Supervisor, timeout_s: float = FOR_EVER_S) -> Worker:
    """A health checker that waits for answers for so long."""
    start = HealthStart({}, AddressSettings(), timeout_s, "me", LogSettings(level=30))
    policy = RestartPolicy(restart=Restart.PERMANENT)
    supervisor._handle.spawn("health", "registry.health.process:run", msgspec.msgpack.encode(start), policy, 60.0)
    return Worker(supervisor._handle, "health")


@contextmanager
def silent_server() -> Iterator[socket.socket]:
    """A stand-in that accepts nothing: connections stand, and nobody answers."""
    with socket.create_server(("127.0.0.1", 0), backlog=1024) as listening:
        yield listening


@contextmanager
def answering_server(
    reply: bytes, asked: threading.Event | None = None, may_answer: threading.Event | None = None
) -> Iterator[socket.socket]:
    """A stand-in that answers one request a connection.

    Args:
        reply: Its answer.
        asked: Set when it has got a request.
        may_answer: What it waits for before it answers.
    """
    with socket.create_server(("127.0.0.1", 0)) as listening, ThreadPoolExecutor(1) as pool:

        def answer() -> None:
            while True:
                try:
                    connection, _ = listening.accept()
                except OSError:
                    return
                with connection:
                    connection.recv(65_536)
                    if asked is not None:
                        asked.set()
                    if may_answer is not None:
                        may_answer.wait(FOR_EVER_S)
                    connection.sendall(reply)

        pool.submit(answer)
        try:
            yield listening
        finally:
            listening.shutdown(socket.SHUT_RDWR)


def url_of(listening: socket.socket, path: str = "") -> str:
    """Where a stand-in listens."""
    return f"http://127.0.0.1:{listening.getsockname()[1]}{path}"


def taken(listening: socket.socket) -> socket.socket:
    """The next connection that has come to a silent server."""
    listening.settimeout(10)
    return listening.accept()[0]


def test_first_findings_are_there_when_it_is_ready(supervisor: Supervisor) -> None:
    """What is alive at the start of the health checker is routable when that says that it works."""
    asked, may_answer = threading.Event(), threading.Event()

    def is_ready() -> bool:
        return any(one.name == "health" and one.ready for one in supervisor.processes())

    with answering_server(listing("m"), asked, may_answer) as listening:
        supervisor.registry.add_backend(Backend(url=url_of(listening), id="a"))
        start_checker(supervisor)
        assert asked.wait(FOR_EVER_S)
        assert not is_ready()
        may_answer.set()
        until(is_ready, "it is ready")
        view = supervisor.registry.get_backend("a", fresh=True)
        assert view is not None
        assert (view.status, [model.id for model in view.models]) == (BackendStatus.HEALTHY, ["m"])


def test_sigterm_ends_it_at_once(supervisor: Supervisor) -> None:
    """It does not wait for servers that hang; its successor probes them again."""
    with silent_server() as listening:
        supervisor.registry.add_backend(Backend(url=url_of(listening), id="a"))
        worker = start_checker(supervisor)
        with taken(listening) as connection:
            before = worker.pid
            assert before is not None
            os.kill(before, signal.SIGTERM)
            until(lambda: worker.pid not in {before, None}, "its successor runs")
            assert connection.recv(65_536).startswith(b"GET /v1/models ")
            assert connection.recv(1) == b""  # nothing is left of the first probe when the second comes
            with taken(listening):
                pass


def test_who_waits_is_served_though_everything_hangs(supervisor: Supervisor) -> None:
    """More hung targets than there are places do not delay the check of a service that somebody waits for."""
    registry = supervisor.registry
    with silent_server() as hung, answering_server(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n") as listening:
        for number in range(BACKGROUND_AT_ONCE + 10):
            registry.add_backend(Backend(url=url_of(hung, f"/{number}")))
        start_checker(supervisor)
        connections = [taken(hung) for _ in range(BACKGROUND_AT_ONCE)]
        port = listening.getsockname()[1]
        registry.register_service("s", host="127.0.0.1", port=port, hostname="h", url=url_of(listening))
        assert registry.check_service("s").health_status is ServiceHealth.HEALTHY
        hung.settimeout(0)
        with pytest.raises(BlockingIOError):
            hung.accept()
        for connection in connections:
            connection.close()


def test_keys_are_not_shown() -> None:
    """What it is told at its start can be logged without its secrets."""
    start = HealthStart({"http://a": "sk-do-not-show"}, AddressSettings(), 5.0, "me", LogSettings())
    assert "sk-do-not-show" not in repr(start)
