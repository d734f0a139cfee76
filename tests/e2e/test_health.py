"""The health of real llama.cpp servers, as a real server finds it."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest
import yaml

from demo.llama import MODEL, LlamaServer
from tests.polling import until
from tests.processes import program

SLOTS = 2
SEVERAL_PROBES_S = 30.0


@pytest.fixture
def llama(start_llama: Callable[..., LlamaServer]) -> LlamaServer:
    """A llama.cpp server that the test may pause and kill."""
    return start_llama(slots=SLOTS)


@pytest.fixture
def seen(llama: LlamaServer, tmp_path: Path) -> Iterator[Callable[[], dict[str, Any]]]:
    """Looks at the backend by way of a server that probes it often."""
    settings = {
        "backends": [{"url": llama.url, "id": "llama", "type": "llamacpp"}],
        "port": 0,
        "gateways": 1,
        "data_dir": str(tmp_path / "data"),
        "health_interval_s": 0.5,
        "health_timeout_s": 0.5,
    }
    path = tmp_path / "registry.yaml"
    path.write_text(yaml.safe_dump(settings))
    with program("-m", "registry", "serve", "--config", str(path)) as run:
        address = until(run.address, "the server serves", 30)

        def look() -> dict[str, Any]:
            found: dict[str, Any] = httpx2.get(f"{address}/backends/llama", trust_env=False).json()
            return found

        yield look


def test_paused_killed_and_restarted(
    llama: LlamaServer, seen: Callable[[], dict[str, Any]], start_llama: Callable[..., LlamaServer]
) -> None:
    """A real server's abilities are known; paused or killed it is unhealthy, with the reason, till it is back."""

    def becomes(status: str) -> dict[str, Any]:
        until(lambda: seen()["status"] == status, f"it is {status}", SEVERAL_PROBES_S)
        return seen()

    (model,) = becomes("healthy")["models"]
    assert (model["id"], model["context_length"]) == (MODEL, 1024)
    assert (model["supports_vision"], model["supports_tools"], model["supports_json_mode"]) == (False, False, True)

    os.kill(llama.pid, signal.SIGSTOP)
    try:
        assert becomes("unhealthy")["last_error"] == "no answer within 0.5 s"
    finally:
        os.kill(llama.pid, signal.SIGCONT)
    assert becomes("healthy")["last_error"] is None

    port = int(llama.url.rpartition(":")[2])
    llama.kill()
    assert becomes("unhealthy")["last_error"] == "connection refused"
    start_llama(port=port, slots=SLOTS)
    becomes("healthy")
