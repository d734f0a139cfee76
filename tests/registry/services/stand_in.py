"""A service registry as its original is: naive local times, spaces in its JSON, everything in memory."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

HEALTHY_S = 120.0

Answer = tuple[int, bytes]


@dataclass
class Asked:
    """A request that came."""

    method: str
    path: str
    body: bytes
    headers: dict[str, str]

    @property
    def line(self) -> str:
        """What was asked for."""
        return f"{self.method} {self.path}"


@dataclass
class StandIn:
    """What the registry has, what it was asked for, and how it is to misbehave.

    Attributes:
        services: By name.
        asked: All requests that came, in order.
        answer: Answers a request in place of the registry; None leaves it to the registry.
    """

    services: dict[str, dict[str, Any]] = field(default_factory=dict)
    asked: list[Asked] = field(default_factory=list)
    answer: Callable[[Asked], Answer | None] = lambda _: None
    lock: threading.Lock = field(default_factory=threading.Lock)

    def lines(self, start: str = "") -> list[str]:
        """What was asked for, where it starts so."""
        return [asked.line for asked in list(self.asked) if asked.line.startswith(start)]

    def reply(self, asked: Asked) -> Answer:
        """Answer a request as the original does."""
        special = self.answer(asked)
        if special is not None:
            return special
        with self.lock:
            status, body = self._reply(asked)
        return status, json.dumps(body).encode()

    def _reply(self, asked: Asked) -> tuple[int, Any]:  # noqa: PLR0911 - one for each path
        parts = urlsplit(asked.path)
        match asked.method, parts.path.strip("/").split("/"):
            case "GET", ["health"]:
                return 200, {
                    "status": "healthy",
                    "registry": "running",
                    "registered_services": len(self.services),
                    "healthy_services": len([one for one in self.services.values() if _is_healthy(one)]),
                    "timestamp": _now(),
                }
            case "GET", ["stats"]:
                return 200, self._stats()
            case "GET", ["services"]:
                return 200, self._list(parse_qs(parts.query))
            case "POST", ["services"]:
                return self._register(json.loads(asked.body))
            case method, ["services", quoted, *more]:
                name = unquote(quoted)
                if name not in self.services:
                    return 404, {"error": f"Service '{name}' not found"}
                return self._about(method, name, more, asked.body)
            case _:
                return 404, {"error": "Not Found"}

    def _register(self, body: dict[str, Any]) -> tuple[int, Any]:
        for required in ("name", "host", "port", "hostname", "url", "status"):
            if required not in body:
                return 400, {"error": f"Missing required field: {required}"}
        kept = ("name", "host", "port", "hostname", "url", "status")
        record = {
            **{key: body[key] for key in kept},
            "timestamp": body.get("timestamp") or _now(),
            "last_heartbeat": time.time(),
            "health_status": "unknown",
            "metadata": body.get("metadata") or {},
        }
        self.services[body["name"]] = record
        return 201, {"message": f"Service '{body['name']}' registered successfully", "service": _shown(record)}

    def _about(self, method: str, name: str, more: list[str], body: bytes) -> tuple[int, Any]:
        record = self.services[name]
        match method, more:
            case "GET", []:
                return 200, _shown(record)
            case "PUT", []:
                changeable = {"host", "port", "hostname", "url", "status", "metadata"}
                record.update({key: value for key, value in json.loads(body).items() if key in changeable})
                record["last_heartbeat"] = time.time()
                return 200, {"message": f"Service '{name}' updated successfully", "service": _shown(record)}
            case "DELETE", []:
                del self.services[name]
                return 200, {"message": f"Service '{name}' unregistered successfully"}
            case "POST", ["heartbeat"]:
                record["last_heartbeat"] = time.time()
                record["status"] = (json.loads(body) if body else {}).get("status", record["status"])
                return 200, {"message": "Heartbeat received", "timestamp": _now()}
            case "GET", ["health"]:
                record["health_status"] = "unhealthy"
                return 200, {
                    "service": name,
                    "health_status": "unhealthy",
                    "is_healthy": _is_healthy(record),
                    "last_heartbeat": record["last_heartbeat"],
                    "timestamp": _now(),
                }
            case _:
                return 405, {"error": "Method Not Allowed"}

    def _list(self, query: dict[str, list[str]]) -> Any:
        found = [_shown(one) for one in self.services.values()]
        if "status" in query:
            found = [one for one in found if one["status"] == query["status"][0]]
        if "healthy" in query:
            found = [one for one in found if one["is_healthy"] == (query["healthy"][0] == "true")]
        return {"services": found, "total": len(found), "timestamp": _now()}

    def _stats(self) -> Any:
        healthy = len([one for one in self.services.values() if _is_healthy(one)])
        statuses = [one["status"] for one in self.services.values()]
        hosts = [one["host"] for one in self.services.values()]
        return {
            "total_services": len(self.services),
            "healthy_services": healthy,
            "unhealthy_services": len(self.services) - healthy,
            "status_distribution": {one: statuses.count(one) for one in statuses},
            "host_distribution": {one: hosts.count(one) for one in hosts},
            "uptime": 1.5,
            "timestamp": _now(),
        }


def _now() -> str:
    return datetime.now().isoformat()  # noqa: DTZ005 - the original's times are naive


def _is_healthy(record: dict[str, Any]) -> bool:
    return bool(record["status"] == "running" and time.time() - record["last_heartbeat"] < HEALTHY_S)


def _shown(record: dict[str, Any]) -> dict[str, Any]:
    return {**record, "is_healthy": _is_healthy(record)}


class _Server(ThreadingHTTPServer):
    def handle_error(self, *_: object) -> None:
        """Connections break: the registry goes away in some tests."""


@contextmanager
def serving(stand_in: StandIn, port: int = 0) -> Iterator[str]:
    """Serve a stand-in for the time of the block; gives its address."""
    connections: list[socket.socket] = []

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def setup(self) -> None:
            super().setup()
            connections.append(self.connection)

        def _any(self) -> None:
            body = self.rfile.read(int(self.headers.get("content-length") or 0))
            asked = Asked(self.command, self.path, body, {key.lower(): value for key, value in self.headers.items()})
            stand_in.asked.append(asked)
            status, answer = stand_in.reply(asked)
            self.send_response(status)
            self.send_header("content-type", "application/json; charset=utf-8")
            self.send_header("content-length", str(len(answer)))
            self.send_header("x-registry-gateway", "stand-in/1")
            self.end_headers()
            self.wfile.write(answer)

        do_GET = do_POST = do_PUT = do_DELETE = _any  # noqa: N815 - the standard library's names

        def log_message(self, *_: object) -> None:
            """Tests read what was asked, and no log."""

    server = _Server(("127.0.0.1", port), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        thread.join()
        for connection in connections:
            with suppress(OSError):  # it was closed by its thread
                connection.shutdown(socket.SHUT_RDWR)
        server.server_close()
