"""Clients that register services and send their heartbeats, each over a connection of its own, through every fault."""

from __future__ import annotations

import contextlib
import http.client
import json
import threading
import time
from collections.abc import Iterable
from typing import Any, NamedTuple

from tests.faults.silence import Listed, Service

ROUND_S = 1.0
"""A client sends one heartbeat of each of its services in this time."""

TIMEOUT_S = 10.0

AGAIN_S = 0.05
"""So long before the next attempt."""


class Answer(NamedTuple):
    """What a gateway answered."""

    status: int
    body: Any
    gateway: str


class Caller:
    """Sends requests over one connection, and over a new one when that has ended.

    Args:
        address: Host and port of the registry.
    """

    def __init__(self, address: str) -> None:
        self._connection = http.client.HTTPConnection(address, timeout=TIMEOUT_S)

    def ask(self, method: str, path: str, body: object = None) -> Answer:
        """One request and its answer; raises `OSError` or `HTTPException` if the gateway was killed under it."""
        try:
            self._connection.request(method, path, None if body is None else json.dumps(body))
            response = self._connection.getresponse()
            answer = response.read()
        except (OSError, http.client.HTTPException):
            self.close()
            raise
        return Answer(
            response.status, json.loads(answer), str(response.headers["x-registry-gateway"]).partition("/")[0]
        )

    def close(self) -> None:
        """Close the connection; the next request opens another one, perhaps to the other gateway."""
        self._connection.close()


class Watcher(threading.Thread):
    """Reads `/watch` from the first change on, and goes on after the last one whenever a stream has broken off.

    Attributes:
        changes: What it has seen.
    """

    def __init__(self, address: str) -> None:
        super().__init__(daemon=True)
        self.changes: list[dict[str, Any]] = []
        self._address = address
        self._stopping = threading.Event()

    @property
    def last(self) -> int:
        """The last revision it has seen."""
        return self.changes[-1]["revision"] if self.changes else 0

    def run(self) -> None:
        while not self._stopping.is_set():
            connection = http.client.HTTPConnection(self._address, timeout=2 * TIMEOUT_S)
            with contextlib.closing(connection), contextlib.suppress(OSError, http.client.HTTPException):
                connection.request("GET", f"/watch?since={self.last}")
                response = connection.getresponse()
                while line := response.readline():
                    if line.startswith(b"data: "):
                        self.changes.append(json.loads(line[len(b"data: ") :]))
            self._stopping.wait(AGAIN_S)

    def stop(self) -> None:
        """Let this stream be the last; `join` then waits for its end, which is that of the registry."""
        self._stopping.set()


class Client(threading.Thread):
    """Sends the heartbeats of some services, and lets each fall silent when its time has come.

    Args:
        address: Host and port of the registry.
        services: What it speaks for, with what each says of itself.
        silences: When each falls silent, by name, and until when; instants of `CLOCK_MONOTONIC`.

    Attributes:
        gateways: Those that have answered it.
        surprises: Answers that no fault explains.
    """

    def __init__(
        self, address: str, services: Iterable[tuple[Service, dict[str, Any]]], silences: dict[str, tuple[float, float]]
    ) -> None:
        super().__init__(daemon=True)
        self.gateways: set[str] = set()
        self.surprises: list[tuple[str, Answer]] = []
        self._services = list(services)
        self._silences = silences
        self._caller = Caller(address)
        self._may_go_on = threading.Event()
        self._may_go_on.set()
        self._waits = threading.Event()
        self._stopping = threading.Event()
        self._began = 0.0

    def run(self) -> None:
        for service, said in self._services:
            self._send(service, "/services", said, 201)
        while not self._stopping.is_set():
            for number, (service, _) in enumerate(self._services):
                due = number * ROUND_S / len(self._services)
                self._stopping.wait(max(0.0, self._began + due - time.monotonic()) if number else 0.0)
                if not number:
                    self._began = time.monotonic()
                silent_from, silent_until = self._silences.get(service.name, (float("inf"), 0.0))
                if not service.gone and not silent_from <= time.monotonic() < silent_until:
                    self._send(service, f"/services/{service.name}/heartbeat", None, 200)
            self._caller.close()

    def _send(self, service: Service, path: str, body: object, status: int) -> None:
        while not self._stopping.is_set():
            if not self._may_go_on.is_set():
                self._waits.set()
                self._may_go_on.wait()
            began = time.monotonic()
            service.tries(began)
            try:
                answer = self._caller.ask("POST", path, body)
            except (OSError, http.client.HTTPException):
                service.failed(time.monotonic())
                self._stopping.wait(AGAIN_S)
                continue
            self.gateways.add(answer.gateway)
            if answer.status == status:
                service.was_heard(time.monotonic())
                return
            service.was_refused()
            if answer.status != 404 or Listed.GONE not in service.may_be(began, time.monotonic()):
                self.surprises.append((path, answer))
            service.gone = True
            return

    def pause(self) -> None:
        """Send nothing more until `go_on`; returns when nothing is under way."""
        self._may_go_on.clear()
        self._waits.wait()

    def go_on(self) -> None:
        """Send again."""
        self._waits.clear()
        self._may_go_on.set()

    def stop(self) -> None:
        """End."""
        self._stopping.set()
        self._may_go_on.set()
        self.join()
        self._caller.close()
