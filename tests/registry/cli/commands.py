"""How commands end, and what they may find in place of a server."""

from __future__ import annotations

import contextlib
import json
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, NamedTuple

from tests.processes import Program

ADMIN_KEY = "the-key-of-the-operators"


class Ended(NamedTuple):
    """How a command ended, and what it printed."""

    code: int
    stdout: str
    stderr: str

    def json(self) -> Any:
        """What it printed, for a program."""
        assert self.code == 0, self.stderr
        return json.loads(self.stdout)

    def lines(self) -> list[Any]:
        """The same of a command that prints an object a line."""
        assert self.code == 0, self.stderr
        return [json.loads(line) for line in self.stdout.splitlines()]

    def table(self) -> list[list[str]]:
        """The cells of a table, which are at least two spaces apart."""
        assert self.code == 0, self.stderr
        return [[cell.strip() for cell in line.split("  ") if cell.strip()] for line in self.stdout.splitlines()]

    def sentence(self, code: int) -> str:
        """The one sentence of a command that failed."""
        assert (self.code, self.stdout) == (code, ""), self
        (line,) = self.stderr.splitlines()
        assert line.startswith("actor-registry: ")
        return line.removeprefix("actor-registry: ")


Command = Callable[..., Ended]


class Served(NamedTuple):
    """A server that runs while the tests of this folder do; tests use ids of their own in it.

    Attributes:
        directory: Its data directory.
        url: Its base address.
        run: Its main process.
    """

    directory: Path
    url: str
    run: Program

    def gateway(self) -> int:
        """The id of its gateway process."""
        return int(self.run.stderr.rpartition("gateway-1 is ready (pid ")[2].partition(")")[0])


class _OtherProgram(BaseHTTPRequestHandler):
    """Answers anything with a page of its own, and keeps what it was sent."""

    server: OtherServer

    def do_GET(self) -> None:
        """Answer."""
        self.server.seen.append(dict(self.headers))
        self.send_response(self.server.status)
        if self.server.status == 301:
            self.send_header("location", "https://elsewhere.example/")
        self.end_headers()
        self.wfile.write(b"<h1>welcome</h1>")

    def do_POST(self) -> None:
        """Answer."""
        self.do_GET()

    def log_message(self, *_: object) -> None:
        """Say nothing."""


class OtherServer(ThreadingHTTPServer):
    """A web server that is no registry."""

    def __init__(self, status: int = 200) -> None:
        super().__init__(("127.0.0.1", 0), _OtherProgram)
        self.status = status
        self.seen: list[dict[str, str]] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


@contextmanager
def other_server(status: int = 200) -> Iterator[OtherServer]:
    """A running one."""
    with OtherServer(status) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        try:
            yield server
        finally:
            server.shutdown()


@contextmanager
def answering(speak: Callable[[socket.socket], None]) -> Iterator[str]:
    """The address of a server that does to each of its clients whatever a test likes."""

    def serve() -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = listening.accept()
                with client, contextlib.suppress(OSError):  # a client may leave in the midst of it
                    speak(client)

    with socket.create_server(("127.0.0.1", 0)) as listening:
        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        try:
            yield f"127.0.0.1:{listening.getsockname()[1]}"
        finally:
            listening.shutdown(socket.SHUT_RDWR)
            thread.join(10)


def closed_port() -> int:
    """A port at which nobody listens."""
    with socket.create_server(("127.0.0.1", 0)) as one:
        return int(one.getsockname()[1])
