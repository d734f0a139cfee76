"""Health checks of a real llama.cpp server, by a whole registry."""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Callable

from demo.llama import MODEL, LlamaServer
from tests.e2e.servers import Server, serve
from tests.polling import until
from tests.processes import program

QUICK = ("--ephemeral", "--gateways=1", "--health-interval=1", "--health-timeout=0.5")


def status_of(server: Server) -> str:
    """The status of the only backend."""
    (backend,) = server.backends().values()
    return str(backend["status"])


def test_a_backend_that_is_paused(start_llama: Callable[..., LlamaServer]) -> None:
    """It is unhealthy with a reason that can be read, gets no requests, and is healthy again when it goes on."""
    llama = start_llama()
    with serve(llama, flags=QUICK) as server:
        (backend,) = server.backends().values()
        assert [model["id"] for model in backend["models"]] == [MODEL]
        os.kill(llama.pid, signal.SIGSTOP)
        try:
            until(lambda: status_of(server) == "unhealthy", "the paused backend is known to be unhealthy", 20)
            (backend,) = server.backends().values()
            assert "no answer within 0.5 s" in backend["last_error"]
            answer = server.ask("POST", "/v1/chat/completions", {"model": MODEL, "messages": []})
            assert answer.status_code == 503
        finally:
            os.kill(llama.pid, signal.SIGCONT)
        until(lambda: status_of(server) == "healthy", "it is healthy again", 20)
        (backend,) = server.backends().values()
        assert backend["last_error"] is None
        answer = server.ask(
            "POST", "/v1/chat/completions", {"model": MODEL, "messages": [{"role": "user", "content": "Hi"}]}
        )
        assert answer.status_code == 200


def test_a_backend_that_is_killed_and_started_again(start_llama: Callable[..., LlamaServer]) -> None:
    """Real requests find out that it is gone, and probes that it is back, without anybody's help."""
    llama = start_llama()
    port = int(llama.url.rpartition(":")[2])
    with serve(llama, flags=("--ephemeral", "--gateways=1", "--health-interval=2")) as server:
        llama.kill()
        until(lambda: status_of(server) == "unhealthy", "the killed backend is known to be unhealthy", 20)
        (backend,) = server.backends().values()
        assert "Connection refused" in backend["last_error"]
        start_llama(port=port)
        until(lambda: status_of(server) == "healthy", "it is healthy again", 20)


def test_a_hung_backend_does_not_keep_the_server_from_serving() -> None:
    """The server is told of as serving, and answers, while nothing is known of that backend yet."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        flags = ("--port=0", "--ephemeral", "--gateways=1", "--health-timeout=600", f"--backend={url}")
        with program("-m", "registry", "serve", *flags) as run:
            server = Server(run)
            assert status_of(server) == "unknown"
