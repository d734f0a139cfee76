"""`actor-registry serve` as the demo runs it, and the looks it takes at it over HTTP.

Every look opens a connection of its own, since an open one belongs to one gateway process, and one is killed.
"""

import contextlib
import socket
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from types import TracebackType
from typing import Self

import httpx2
import psutil
from prometheus_client.parser import text_string_to_metric_families
from pydantic import BaseModel

from demo.errors import DemoError
from demo.llama import ROOT
from demo.waiting import wait_for

START_TIMEOUT_S = 30.0
STOP_TIMEOUT_S = 10.0
LOOK_TIMEOUT_S = 5.0
GATEWAYS = 2
CROWD = 4


@dataclass(frozen=True)
class Gateway:
    """A gateway process, as it names itself in its answers.

    Args:
        name: Its place among the children of the supervisor, which its successor takes over.
        pid: Its process id.
    """

    name: str
    pid: int

    @classmethod
    def of(cls, headers: Mapping[str, str]) -> Self:
        """The gateway process that sent these headers.

        Raises:
            DemoError: It did not name itself.
        """
        name, _, pid = headers.get("X-Registry-Gateway", "").rpartition("/")
        if not name or not pid.isdigit():
            raise DemoError("An answer does not name the gateway process that sent it.")
        return cls(name, int(pid))

    def __str__(self) -> str:
        return f"{self.name}/{self.pid}"


class Model(BaseModel):
    """A model as `GET /backends` shows it."""

    id: str


class Backend(BaseModel):
    """A backend as `GET /backends` shows it, as far as the demo looks."""

    id: str
    url: str
    status: str
    models: list[Model]
    pending_requests: int
    total_requests: int
    avg_latency_ms: float | None = None


class Backends(BaseModel):
    """The answer of `GET /backends`."""

    backends: list[Backend]


class RegistryServer:
    """The registry with two gateway processes, an ephemeral data directory and the given backends.

    Args:
        backends: The addresses of the model servers.
    """

    def __init__(self, backends: Sequence[str]) -> None:
        self.url = f"http://127.0.0.1:{free_port()}"
        port = self.url.rpartition(":")[2]
        self._backend_count = len(backends)
        self._command = [sys.executable, "-m", "registry", "serve", f"--gateways={GATEWAYS}", "--ephemeral"]
        self._command += [f"--port={port}", *(f"--backend={url}" for url in backends)]
        self._process: subprocess.Popen[bytes] | None = None
        self._log = tempfile.TemporaryFile()  # noqa: SIM115 (closed by `stop`)

    def start(self) -> None:
        """Start the registry and wait until it is ready and knows the models of all backends.

        Raises:
            DemoError: It ended, or was not ready in time.
        """
        # A session of its own: Ctrl-C in the terminal stops the demo, which then stops the registry in order.
        self._process = subprocess.Popen(
            [sys.executable, "-m", "demo.tied", *self._command],
            cwd=ROOT,
            stdin=subprocess.DEVNULL,
            stdout=self._log,
            stderr=self._log,
            start_new_session=True,
        )
        if wait_for(self._ready, START_TIMEOUT_S) is None:
            raise DemoError(
                f"The registry was not ready within {START_TIMEOUT_S:.0f} seconds; its log ends: {self.last_words()}"
            )

    def _ready(self) -> bool | None:
        self.check_alive()
        answer = self.look("/readyz")
        if answer is None or not answer.is_success:
            return None
        # It can be ready before it has asked every backend for its models.
        known = [backend for backend in self.backends() if backend.models]
        return True if len(known) == self._backend_count else None

    @property
    def pid(self) -> int:
        """The process id of the supervisor.

        Raises:
            RuntimeError: The registry has not been started.
        """
        if self._process is None:
            raise RuntimeError("the registry has not been started")
        return self._process.pid

    def check_alive(self) -> None:
        """Make sure that the registry is still running.

        Raises:
            DemoError: It has ended.
        """
        if self._process is not None and self._process.poll() is not None:
            raise DemoError(f"The registry ended with code {self._process.returncode}: {self.last_words()}")

    def wait(self) -> None:
        """Wait until the registry ends, which it does not do by itself.

        Raises:
            DemoError: It has ended.
        """
        if self._process is not None:
            self._process.wait()
            self.check_alive()

    def last_words(self) -> str:
        """The last line of the log."""
        self._log.seek(0)
        lines = [line for line in self._log.read().decode(errors="replace").splitlines() if line.strip()]
        return lines[-1] if lines else "it left no log."

    def look(self, path: str) -> httpx2.Response | None:
        """The answer to `GET path`, or `None` if there was none, as when the gateway process dies."""
        try:
            with httpx2.Client(base_url=self.url, timeout=LOOK_TIMEOUT_S, trust_env=False) as client:
                return client.get(path)
        except httpx2.TransportError:
            return None

    def backends(self) -> list[Backend]:
        """All backends, as the owner process sees them now.

        Raises:
            DemoError: No gateway process answers, or not with backends.
        """
        return Backends.model_validate_json(self._read("/backends").content).backends

    def pending(self, backend_id: str) -> int:
        """How many requests are in flight on a backend.

        Raises:
            DemoError: The registry does not know the backend, or does not answer.
        """
        for backend in self.backends():
            if backend.id == backend_id:
                return backend.pending_requests
        raise DemoError(f"The registry does not list the backend {backend_id}.")

    def leases(self) -> int:
        """How many leases are out, as the metrics count them.

        Raises:
            DemoError: The metrics cannot be had, or do not count leases.
        """
        families = text_string_to_metric_families(self._read("/metrics").text)
        gauges = [s.value for family in families for s in family.samples if s.name == "actor_registry_leases"]
        if not gauges:
            raise DemoError("The metrics of the registry do not count leases.")
        return int(sum(gauges))

    def gateways_at_work(self) -> set[Gateway]:
        """The gateway processes that some new connections happen to reach.

        They come at the same time: of those that come one by one, the same process could win each.
        """
        with ThreadPoolExecutor(CROWD) as pool:
            answers = list(pool.map(self.look, ["/livez"] * CROWD))
        return {Gateway.of(answer.headers) for answer in answers if answer is not None and answer.is_success}

    def _read(self, path: str) -> httpx2.Response:
        answer = wait_for(lambda: self.look(path), LOOK_TIMEOUT_S)
        if answer is None:
            raise DemoError(f"The registry does not answer GET {path}.")
        if not answer.is_success:
            raise DemoError(f"The registry answered {answer.status_code} to GET {path}.")
        return answer

    def stop(self) -> None:
        """Stop the registry in order; if that takes too long, kill all its processes."""
        process, self._process = self._process, None
        if process is not None and process.poll() is None:
            family: list[psutil.Process] = []
            with contextlib.suppress(psutil.NoSuchProcess):
                family = psutil.Process(process.pid).children(recursive=True)
            process.terminate()
            try:
                process.wait(STOP_TIMEOUT_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
                for member in family:
                    with contextlib.suppress(psutil.NoSuchProcess):
                        member.kill()
        self._log.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


def free_port() -> int:
    """A TCP port of the loopback interface that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
