"""58 calls of the service registry whose place this one takes, as they were recorded, and how answers are compared.

They are made in their order against an empty registry. Ports are moved to free ones: what the services say of
themselves is true, since some of them are probed.
"""

from __future__ import annotations

import contextlib
import json
import random
import re
import socket
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

RECORDED = Path(__file__).with_name("recorded_calls.json")
FIRST_PORT = 18_290
PORTS = 11
ANSWERS = {1: 200, 2: 200, 3: 503, 4: 204}
"""What is answered on the ports after the first one; nobody listens on the others."""

TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)?")


def recorded_calls(first_port: int = FIRST_PORT) -> list[dict[str, Any]]:
    """The calls, with the ports moved."""
    text = RECORDED.read_text(encoding="utf-8")
    calls: list[dict[str, Any]] = json.loads(
        re.sub(r"\b18(29\d|300)\b", lambda found: str(int(found[0]) - FIRST_PORT + first_port), text)
    )
    return calls


def body_of(call: dict[str, Any]) -> bytes:
    """The body of a call."""
    if "request_raw" in call:
        return str(call["request_raw"]).encode()
    return b"" if call["request_json"] is None else json.dumps(call["request_json"]).encode()


def differences(call: dict[str, Any], status: int, body: bytes) -> list[str]:
    """How an answer differs from the recorded one, in words; the order of fields counts too."""
    if status != call["status"]:
        return [f"status {status}, not {call['status']}: {body!r:.200}"]
    return list(_differences(call["response_json"], json.loads(body), "$"))


def _differences(recorded: Any, found: Any, where: str) -> Iterator[str]:
    field = where.rpartition(".")[2]
    if field == "timestamp" and not str(recorded).startswith("2020-"):
        if not isinstance(found, str) or not TIME.fullmatch(found):
            yield f"{where}: {found!r} is no time"
    elif field in {"last_heartbeat", "uptime"}:
        if not isinstance(found, float):
            yield f"{where}: {found!r} is no number of seconds"
    elif type(recorded) is not type(found):
        yield f"{where}: {found!r}, not {recorded!r}"
    elif isinstance(recorded, dict | list):
        yield from _inner_differences(_parts(recorded), _parts(found), where)
    elif recorded != found:
        yield f"{where}: {found!r}, not {recorded!r}"


def _parts(value: dict[str, Any] | list[Any]) -> dict[str, Any]:
    return value if isinstance(value, dict) else {f"[{index}]": one for index, one in enumerate(value)}


def _inner_differences(recorded: dict[str, Any], found: dict[str, Any], where: str) -> Iterator[str]:
    if list(recorded) != list(found):
        yield f"{where}: {list(found)}, not {list(recorded)}"
        return
    for name, value in recorded.items():
        yield from _differences(value, found[name], f"{where}.{name}")


@contextlib.contextmanager
def probed_services() -> Iterator[int]:
    """Stand-ins for the services that are probed; the port that stands for the first one."""
    first, reserved = _free_ports()
    servers = []
    for number, listening in reserved.items():
        listening.close()
        if number in ANSWERS:
            server = ThreadingHTTPServer(("127.0.0.1", first + number), _answering(ANSWERS[number]))
            threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
            servers.append(server)
    try:
        yield first
    finally:
        for server in servers:
            server.shutdown()
            server.server_close()


def _free_ports() -> tuple[int, dict[int, socket.socket]]:
    """A first port, and sockets that keep it and those after it free until they are closed."""
    while True:
        first = random.randrange(20_000, 32_000)
        reserved: dict[int, socket.socket] = {}
        try:
            for number in range(PORTS):
                reserved[number] = socket.create_server(("127.0.0.1", first + number))
        except OSError:
            for listening in reserved.values():
                listening.close()
            continue
        return first, reserved


def _answering(status: int) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status if self.path == "/health" else 404)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    return Handler
