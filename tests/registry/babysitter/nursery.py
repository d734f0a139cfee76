"""A babysitter with an AI server and a registry, all of which can be told to misbehave."""

from __future__ import annotations

import contextlib
import json
import random
import re
import socket
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from tests.polling import until
from tests.processes import Program, program
from tests.registry.services.stand_in import StandIn, serving

AI_SERVER = Path(__file__).with_name("ai_server.py")
NAME = "tiny"
QUICK = ("--heartbeat-interval", "0.1", "--restart-delay", "0.05", "--check-interval", "0.05", "--hang-timeout", "30")


class Answered(NamedTuple):
    """An answer over HTTP."""

    status: int
    body: Any
    headers: dict[str, str]


def ask(url: str, method: str = "GET") -> Answered | None:
    """What is answered at an address; None if nobody answers."""
    request = urllib.request.Request(url, method=method)  # noqa: S310 - an address of this test
    try:
        with urllib.request.urlopen(request, timeout=5) as response:  # noqa: S310 - the same
            return _read(response.status, response.read(), response.headers)
    except urllib.error.HTTPError as error:
        with error:
            return _read(error.code, error.read(), error.headers)
    except OSError:
        return None


def _read(status: int, body: bytes, headers: Any) -> Answered:
    return Answered(status, json.loads(body) if body else None, {key.lower(): value for key, value in headers.items()})


def free_ports() -> int:
    """A port that is free, as the next one is; none of those that the kernel gives to connections in the meantime."""
    while True:
        port = random.randrange(10_000, 30_000)
        with (
            contextlib.suppress(OSError),
            socket.create_server(("127.0.0.1", port)),
            socket.create_server(("127.0.0.1", port + 1)),
        ):
            return port


class Control:
    """What an AI server is told."""

    def __init__(self, path: Path, **first: Any) -> None:
        self.path = path
        self._now: dict[str, Any] = {"models": ["a", "b"]}
        self.tell(**first)

    def asked(self, path: str) -> int:
        """How often the AI server was asked for a page."""
        file = self.path.with_suffix(".asked")
        return file.read_text().splitlines().count(path) if file.exists() else 0

    def tell(self, **changes: Any) -> None:
        """Change it; the file is never seen half written."""
        self._now.update(changes)
        half = self.path.with_suffix(".half")
        half.write_text(json.dumps(self._now))
        half.replace(self.path)


class Nursery:
    """A babysitter that runs.

    Attributes:
        port: That of the AI server.
        control: Tells the AI server what to do.
        run: The babysitter's process.
        registry: What the registry has and was asked.
    """

    def __init__(self, port: int, control: Control, run: Program, registry: StandIn) -> None:
        self.port = port
        self.control = control
        self.run = run
        self.registry = registry

    def page(self, path: str, method: str = "GET") -> Answered | None:
        """What the babysitter answers."""
        return ask(f"http://127.0.0.1:{self.port + 1}{path}", method)

    def health(self) -> int:
        """The status of its `/health`; 0 if nobody answers."""
        answered = self.page("/health")
        return 0 if answered is None else answered.status

    def is_well(self) -> None:
        """Wait until the AI server is ready, and the registry knows."""
        until(lambda: self._goes_on() and self.health() == 200, "the server is ready")
        until(lambda: self.status() == self.own_status() == "running", "the registry knows that the server runs")

    def status(self) -> str:
        """The status of the AI server's entry; empty if there is none."""
        return self._status_of(f"{NAME}-server")

    def own_status(self) -> str:
        """The same of the babysitter's own entry."""
        return self._status_of(NAME)

    def _status_of(self, name: str) -> str:
        entry = self.registry.services.get(name)
        return "" if entry is None else str(entry["status"])

    def pids(self) -> list[int]:
        """Ids of the commands that were started, in order."""
        return [int(pid) for pid in re.findall(r"was started \(pid (\d+)\)", self.run.stderr)]

    def _goes_on(self) -> bool:
        assert self.run.process.poll() is None, self.run.stderr
        return True


@contextmanager
def nursery(
    folder: Path,
    *arguments: str,
    command: Sequence[str] | None = None,
    registry: StandIn | None = None,
    registry_url: str | None = None,
    environment: dict[str, str] | None = None,
    started_by: Sequence[str] = ("-m", "registry"),
    **told: Any,
) -> Iterator[Nursery]:
    """A babysitter for the time of the block.

    Args:
        folder: Where the AI server's control file is made.
        arguments: Further flags; later ones count.
        command: What is run in place of the AI server; `{control}` in it is the control file.
        registry: A registry to be used; else one of its own.
        registry_url: Where the registry is said to be, if that is not where it is.
        environment: Further variables.
        started_by: What stands before `run` on Python's command line.
        told: What the AI server is told at first.
    """
    port = free_ports()
    control = Control(folder / "control.json", **told)
    started = command or [sys.executable, "-S", str(AI_SERVER), "{port}", str(control.path)]
    registry = registry or StandIn()
    with serving(registry) as url:
        flags = ["--name", NAME, "--port", str(port), "--registry", registry_url or url, *QUICK, *arguments]
        with program(*started_by, "run", *flags, "--", *started, **(environment or {})) as run:
            yield Nursery(port, control, run, registry)
