"""The health of real llama.cpp servers, as a real server finds it."""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml

from demo.llama import MODEL, LlamaServer
from tests.e2e.servers import Server, serve
from tests.polling import until
from tests.processes import program

SLOTS = 2
SEVERAL_PROBES_S = 30.0
CHAT = {"model": MODEL, "messages": [{"role": "user", "content": "Hi"}], "max_tokens": 4}


def test_paused_killed_and_restarted(start_llama: Callable[..., LlamaServer], tmp_path: Path) -> None:
    """A real server's abilities are known; paused or killed it gets no requests, and says why, till it is back."""
    llama = start_llama(slots=SLOTS)
    settings = {
        "backends": [{"url": llama.url, "id": "llama", "type": "llamacpp"}],
        "gateways": 1,
        "health_interval_s": 0.5,
        "health_timeout_s": 0.5,
    }
    path = tmp_path / "registry.yaml"
    path.write_text(yaml.safe_dump(settings))
    with serve(flags=("--ephemeral", f"--config={path}")) as server:

        def becomes(status: str) -> dict[str, Any]:
            until(lambda: server.backends()["llama"]["status"] == status, f"it is {status}", SEVERAL_PROBES_S)
            return server.backends()["llama"]

        (model,) = becomes("healthy")["models"]
        assert (model["id"], model["context_length"]) == (MODEL, 1024)
        assert (model["supports_vision"], model["supports_tools"], model["supports_json_mode"]) == (False, False, True)
        assert server.ask("POST", "/v1/chat/completions", CHAT).status_code == 200

        os.kill(llama.pid, signal.SIGSTOP)
        try:
            assert becomes("unhealthy")["last_error"] == "no answer within 0.5 s"
            assert server.ask("POST", "/v1/chat/completions", CHAT).status_code == 503
        finally:
            os.kill(llama.pid, signal.SIGCONT)
        assert becomes("healthy")["last_error"] is None
        assert server.ask("POST", "/v1/chat/completions", CHAT).status_code == 200

        port = int(llama.url.rpartition(":")[2])
        llama.kill()
        assert becomes("unhealthy")["last_error"] == "connection refused"
        start_llama(port=port, slots=SLOTS)
        becomes("healthy")


def test_a_hung_backend_does_not_keep_the_server_from_serving() -> None:
    """The server is told of as serving, and answers, while nothing is known of that backend yet."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        flags = ("--port=0", "--ephemeral", "--gateways=1", "--health-timeout=600", f"--backend={url}")
        with program("-m", "registry", "serve", *flags) as run:
            (backend,) = Server(run).backends().values()
            assert backend["status"] == "unknown"
