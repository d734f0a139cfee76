"""What surrounds a server under fault: upstream servers and clients.

The upstream servers are stand-ins for AI servers: real HTTP servers, in threads of the test, that stream exactly what
and when the test says.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import queue
import random
import threading
import urllib.request
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlsplit

from tests.polling import until
from tests.processes import Program, program

MODEL = "m"
CLIENT_TIMEOUT_S = 20.0


class UpstreamStream:
    """One answer of a stand-in, in the hands of the test."""

    def __init__(self) -> None:
        self.pieces: queue.Queue[bytes | None] = queue.Queue()
        self.broken = threading.Event()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: UpstreamServer

    def do_GET(self) -> None:
        self._whole(json.dumps({"object": "list", "data": [{"id": MODEL}]}).encode())

    def do_POST(self) -> None:
        call = json.loads(self.rfile.read(int(self.headers["content-length"])))
        if not call.get("stream"):
            self._whole(json.dumps({"answer_to": call["user"]}).encode())
            return
        self.send_response(200)
        self.send_header("content-type", "text/event-stream")
        self.send_header("transfer-encoding", "chunked")
        self.end_headers()
        stream = self.server.stream_of(call["user"])
        try:
            while (piece := stream.pieces.get(timeout=60)) is not None:
                self.wfile.write(b"%x\r\n%b\r\n" % (len(piece), piece))
            self.wfile.write(b"0\r\n\r\n")
        except OSError:
            stream.broken.set()
            self.close_connection = True

    def _whole(self, body: bytes) -> None:
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args: Any) -> None:
        """Say nothing."""


class AiServer(ThreadingHTTPServer):
    """A stand-in for an AI server on a free port; `handler` answers."""

    daemon_threads = True
    block_on_close = False
    request_queue_size = 128

    def __init__(self, handler: type[BaseHTTPRequestHandler]) -> None:
        super().__init__(("127.0.0.1", 0), handler)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Whoever was killed or gives up resets its connections; that is no error of the stand-in."""


class UpstreamServer(AiServer):
    """One whose answers are in the hands of the test."""

    def __init__(self, streams: dict[str, UpstreamStream]) -> None:
        super().__init__(_Handler)
        self._streams = streams

    def stream_of(self, user: str) -> UpstreamStream:
        return self._streams[user]


class Stream:
    """A streamed completion as its client sees it, with the upstream's end of it.

    Attributes:
        backend: Id of the backend that answers.
        gateway: Name of the gateway that carries it.
        sent: What the upstream server has sent so far.
    """

    def __init__(self, server: Server, upstream: UpstreamStream, user: str) -> None:
        self.upstream = upstream
        self.sent = b""
        self._received = b""
        self._connection = server.connect()
        body = json.dumps({"model": MODEL, "messages": [], "stream": True, "user": user})
        self._connection.request("POST", "/v1/chat/completions", body, {"content-type": "application/json"})
        self._response = self._connection.getresponse()
        assert self._response.status == 200, self._response.read()
        self.backend = self._response.headers["x-registry-backend"]
        self.gateway = self._response.headers["x-registry-gateway"].partition("/")[0]

    def send(self, chance: random.Random) -> None:
        """Let the upstream server send an event of any length, which the client need not have read yet."""
        event = b"data: " + chance.randbytes(chance.randrange(1, 2_000)).hex().encode() + b"\n\n"
        self.sent += event
        self.upstream.pieces.put(event)

    def arrived(self) -> None:
        """Read until all that was sent has arrived."""
        while len(self._received) < len(self.sent):
            piece = self._response.read1(65_536)
            assert piece, "the stream ended too early"
            self._received += piece
        assert self._received == self.sent

    def finishes(self) -> None:
        """Let it end, and compare every byte."""
        self.sent += b"data: [DONE]\n\n"
        self.upstream.pieces.put(b"data: [DONE]\n\n")
        self.upstream.pieces.put(None)
        self._received += self._response.read()
        assert self._received == self.sent
        self.close()

    def breaks(self) -> None:
        """Its process is gone: the client sees the connection end before the answer has."""
        try:
            rest = self._response.read()
        except (http.client.HTTPException, OSError):
            pass
        else:
            raise AssertionError(f"the stream ended as if it were whole, with {rest!r}")
        self.close()

    def close(self) -> None:
        """Leave, and let the upstream server finish with it."""
        self.upstream.pieces.put(None)
        self._response.close()
        self._connection.close()


class Server:
    """A server of two gateways with two stand-in upstream servers.

    Attributes:
        run: Its main process, the supervisor.
    """

    def __init__(self, run: Program, upstreams: dict[str, UpstreamStream], backends: int) -> None:
        self.run = run
        self._streams = upstreams
        self._numbers = 0
        self._address = until(run.address, "the server serves", 20).removeprefix("http://")
        until(lambda: len(self.healthy()) == backends, "all backends are healthy")

    def connect(self) -> http.client.HTTPConnection:
        parts = urlsplit(f"http://{self._address}")
        assert parts.hostname
        return http.client.HTTPConnection(parts.hostname, parts.port, timeout=CLIENT_TIMEOUT_S)

    def get(self, path: str) -> Any:
        with urllib.request.urlopen(f"http://{self._address}{path}", timeout=CLIENT_TIMEOUT_S) as response:
            return json.load(response)

    def backends(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.get("/backends")["backends"]
        return found

    def healthy(self) -> list[str]:
        return [one["id"] for one in self.backends() if one["status"] == "healthy"]

    def pending(self) -> dict[str, int]:
        """Requests in flight by backend, without the idle ones."""
        return {one["id"]: one["pending_requests"] for one in self.backends() if one["pending_requests"]}

    def pid(self, name: str) -> int:
        """The process id that the supervisor last told of a process."""
        return self.run.pid(name)

    def open_stream(self) -> Stream:
        self._numbers += 1
        user = f"stream-{self._numbers}"
        upstream = self._streams[user] = UpstreamStream()
        return Stream(self, upstream, user)

    def open_streams(self, each: int = 2) -> list[Stream]:
        """Streams such that both gateways carry some."""
        streams: list[Stream] = []
        while any(sum(one.gateway == name for one in streams) < each for name in ("gateway-1", "gateway-2")):
            assert len(streams) < 200, "one gateway gets no connections"
            streams.append(self.open_stream())
        return streams

    def ask(self) -> str:
        """A whole answer over a new connection; the name of the gateway that gave it."""
        self._numbers += 1
        user = f"request-{self._numbers}"
        connection = self.connect()
        with contextlib.closing(connection):
            body = json.dumps({"model": MODEL, "messages": [], "user": user})
            connection.request("POST", "/v1/chat/completions", body, {"content-type": "application/json"})
            response = connection.getresponse()
            answer = response.read()
            assert (response.status, json.loads(answer)) == (200, {"answer_to": user}), answer
            return str(response.headers["x-registry-gateway"]).partition("/")[0]


@contextlib.contextmanager
def serve() -> Iterator[Server]:
    """A server that runs within the block; nothing of it outlives the block."""
    streams: dict[str, UpstreamStream] = {}
    with contextlib.ExitStack() as stack:
        arguments = ["-m", "registry", "serve", "--gateways", "2", "--ephemeral", "--port", "0"]
        for _ in range(2):
            upstream = stack.enter_context(UpstreamServer(streams))
            threading.Thread(target=upstream.serve_forever, args=(0.05,), daemon=True).start()
            stack.callback(upstream.shutdown)
            arguments += ["--backend", upstream.url]
        run = stack.enter_context(program(*arguments))
        try:
            yield Server(run, streams, 2)
        finally:
            for upstream_stream in streams.values():
                upstream_stream.pieces.put(None)
