"""A real server and its health checker, and backends that misbehave in every way; these are stand-ins."""

from __future__ import annotations

import json
import os
import signal
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler
from typing import Any

import httpx2
import pytest

from tests.faults.stand_ins import AiServer
from tests.polling import until
from tests.processes import Program, program

INTERVAL_S = 0.5
TIMEOUT_S = 0.4
WELL = json.dumps({"object": "list", "data": [{"id": "m"}]}).encode()


class Target(AiServer):
    """One that misbehaves.

    Attributes:
        mode: How it answers from now on.
        probes: How often it was asked.
        most_at_once: How many requests it has had at the same time at most.
    """

    def __init__(self, mode: str) -> None:
        super().__init__(_Handler)
        self.mode = mode
        self.probes = 0
        self.most_at_once = 0
        self.released = threading.Event()
        self._at_once = 0
        self._lock = threading.Lock()

    def begun(self) -> int:
        with self._lock:
            self.probes += 1
            self._at_once += 1
            self.most_at_once = max(self.most_at_once, self._at_once)
            return self.probes

    def ended(self) -> None:
        with self._lock:
            self._at_once -= 1


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Target

    def do_GET(self) -> None:
        number = self.server.begun()
        try:
            self._answer(self.server.mode, number)
        finally:
            self.server.ended()

    def _answer(self, mode: str, number: int) -> None:
        if mode == "hung":
            # Till the checker gives up: then it is not asked any more.
            self.connection.settimeout(60)
            self.close_connection = True
            self.rfile.read(1)
        elif mode == "500" or (mode == "flapping" and number % 2 == 0):
            self._send(500, b"{}")
        elif mode == "garbage":
            self._send(200, b"\xff" * 1000)
        elif mode == "10 MB":
            self._send(200, WELL[:-1] + b" " * 10_000_000 + WELL[-1:])
        else:
            self._send(200, WELL)

    def _send(self, status: int, body: bytes) -> None:
        self.send_response(status)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args: Any) -> None:
        """Say nothing."""


MODES = ("well", "flapping", "hung", "500", "garbage", "10 MB")


class Scene:
    """A server, and backends of all modes.

    Attributes:
        run: The server's program.
        targets: The backends by mode.
    """

    def __init__(self, run: Program, targets: dict[str, Target]) -> None:
        self.run = run
        self.targets = targets
        self._address = until(run.address, "the server serves", 30)

    def backends(self) -> dict[str, dict[str, Any]]:
        """The backends by mode."""
        answer = httpx2.get(f"{self._address}/backends", timeout=20, trust_env=False).json()
        by_url = {one["url"]: one for one in answer["backends"]}
        return {mode: by_url[target.url] for mode, target in self.targets.items()}

    def age_s(self, mode: str) -> float:
        """How long ago it was last probed."""
        checked = datetime.fromisoformat(self.backends()[mode]["last_health_check"])
        return (datetime.now(UTC) - checked).total_seconds()

    def status(self, mode: str) -> str:
        return str(self.backends()[mode]["status"])


@pytest.fixture(scope="module")
def scene() -> Iterator[Scene]:
    """One server for all tests of this module."""
    with ExitStack() as stack:
        targets = {mode: stack.enter_context(Target(mode)) for mode in MODES}
        arguments = ["-m", "registry", "serve", "--gateways", "1", "--ephemeral", "--port", "0"]
        arguments += ["--health-interval", str(INTERVAL_S), "--health-timeout", str(TIMEOUT_S)]
        for target in targets.values():
            threading.Thread(target=target.serve_forever, args=(0.05,), daemon=True).start()
            stack.callback(target.shutdown)
            arguments += ["--backend", target.url]
        run = stack.enter_context(program(*arguments))
        yield Scene(run, targets)
        assert "Traceback" not in run.stderr


def test_each_is_judged_by_itself(scene: Scene) -> None:
    """Servers that are hung, fail or answer nonsense are found so, with the reason; the others do not suffer."""
    expected = {
        "hung": f"no answer within {TIMEOUT_S} s",
        "500": "GET /v1/models answered 500",
        "garbage": "GET /v1/models answered something that is no list of models",
        "10 MB": "GET /v1/models answered 10 MB of something",
    }
    for mode, error in expected.items():
        until(lambda mode=mode: scene.status(mode) == "unhealthy", f"{mode} is unhealthy")  # type: ignore[misc]  # a lambda with a default
        assert scene.backends()[mode]["last_error"] == error
    for mode in ("well", "flapping"):
        until(lambda mode=mode: scene.status(mode) == "healthy", f"{mode} is healthy")  # type: ignore[misc]  # a lambda with a default
        assert [model["id"] for model in scene.backends()[mode]["models"]] == ["m"]


def test_time_of_the_latest_check_is_fresh(scene: Scene) -> None:
    """Each probe is noted, also one that changes nothing, however the others behave."""
    before = scene.backends()
    for mode in ("well", "500", "hung"):
        until(
            lambda mode=mode: scene.backends()[mode]["last_health_check"] > before[mode]["last_health_check"],  # type: ignore[misc]  # a lambda with a default
            f"{mode} was probed again",
        )


def test_one_that_recovers_is_healthy_again(scene: Scene) -> None:
    """A server that fails, and then does not, is routed to again."""
    until(lambda: scene.status("500") == "unhealthy", "it is unhealthy")
    scene.targets["500"].mode = "well"
    until(lambda: scene.status("500") == "healthy", "it is healthy")
    scene.targets["500"].mode = "500"
    until(lambda: scene.status("500") == "unhealthy", "it is unhealthy again")


@pytest.mark.parametrize("name", ["health", "owner"])
def test_killed_process_is_no_end(scene: Scene, name: str) -> None:
    """After the checker or the owner was killed everything is probed again, and nothing twice at the same time."""
    before = scene.run.pid(name)
    os.kill(before, signal.SIGKILL)
    until(lambda: scene.run.pid(name) != before, f"{name} is back", 20)
    probes = {mode: target.probes for mode, target in scene.targets.items()}
    until(
        lambda: all(target.probes > probes[mode] + 1 for mode, target in scene.targets.items()),
        "each is probed twice more",
        20,
    )
    assert {target.most_at_once for target in scene.targets.values()} == {1}
    assert (scene.status("well"), scene.status("hung")) == ("healthy", "unhealthy")


def test_checker_that_was_stopped_goes_on(scene: Scene) -> None:
    """A checker that was stopped for several intervals goes on with what is due then, and finds what is well so."""
    checker = scene.run.pid("health")
    os.kill(checker, signal.SIGSTOP)
    try:
        until(lambda: scene.age_s("well") > 4 * INTERVAL_S, "it was not probed for long")
    finally:
        os.kill(checker, signal.SIGCONT)
    until(lambda: scene.age_s("well") < INTERVAL_S, "it is probed again")
    assert scene.status("well") == "healthy"
    assert scene.run.pid("health") == checker
