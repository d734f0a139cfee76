"""Services that register themselves at a whole registry; behind them is a real llama.cpp server."""

from __future__ import annotations

import itertools
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import openai
import pytest

from demo.llama import MODEL, LlamaServer
from tests.e2e.servers import Server, serve
from tests.polling import until


def service(name: str, url: str, **more: Any) -> dict[str, Any]:
    """What a service says of itself; it need not be there."""
    port = int(url.rpartition(":")[2])
    return {
        "name": name,
        "host": "127.0.0.1",
        "port": port,
        "hostname": "here",
        "url": url,
        "status": "running",
        **more,
    }


def says(server: Server, question: str) -> str:
    """The backend that has answered a question."""
    answer = server.client.chat.completions.with_raw_response.create(
        model=MODEL, messages=[{"role": "user", "content": question}], max_tokens=4
    )
    assert answer.parse().choices[0].message.content
    return str(answer.headers["x-registry-backend"])


def test_a_service_is_a_backend_while_it_is_registered(llama_servers: tuple[LlamaServer, LlamaServer]) -> None:
    """It is routed to without a word to the operator, under one id however many name it, and gone with the last."""
    llama, _ = llama_servers
    metadata = {"type": "openai-api", "models": [MODEL]}
    with serve() as server:
        for name in ("one", "two"):
            answer = server.ask("POST", "/services", service(name, llama.url, metadata=metadata))
            assert (answer.status_code, answer.json()["service"]["is_healthy"]) == (201, True)
        until(lambda: [one["status"] for one in server.backends().values()] == ["healthy"], "it is found healthy")
        (id,) = server.backends()
        assert says(server, "Hi") == id == llama.url.removeprefix("http://")
        assert server.ask("DELETE", "/services/one").status_code == 200
        assert says(server, "Hi") == id
        assert server.ask("DELETE", "/services/two").status_code == 200
        with pytest.raises(openai.NotFoundError):
            says(server, "Hi")
        assert server.backends() == {}
        assert server.ask("POST", "/services/two/heartbeat").status_code == 404


def test_a_service_without_heartbeats_is_unhealthy_and_then_removed(tmp_path: Path) -> None:
    """One that sends some stays; each change of the other is one step of the history."""
    config = tmp_path / "server.yaml"
    config.write_text("heartbeat_timeout_s: 1\nstale_after_s: 2\ngateways: 1\n")
    with serve(flags=("--ephemeral", f"--config={config}", "--cleanup-interval=0.2")) as server:
        for name in ("silent", "alive"):
            server.ask("POST", "/services", service(name, "http://127.0.0.1:9"))

        def silent_is_gone() -> bool:
            assert server.ask("POST", "/services/alive/heartbeat").status_code == 200
            services = server.services()
            assert services["alive"]["is_healthy"]
            return "silent" not in services

        until(silent_is_gone, "the silent one is removed", 20)
        assert server.ask("GET", "/stats").json()["total_services"] == 1
        steps = [
            (row["before"], row["after"])
            for change in server.ask("GET", "/history").json()["changes"]
            for row in change["rows"]
            if (row["table"], row["key"]) == ("services", "silent")
        ]
        assert [(before is None, after is None) for before, after in steps] == [
            (True, False),
            (False, False),
            (False, True),
        ]
        assert (steps[1][0]["is_healthy"], steps[1][1]["is_healthy"]) == (True, False)


def test_services_outlive_the_registry(tmp_path: Path) -> None:
    """However it ends, and however long it is gone: nobody has grown older meanwhile."""
    config = tmp_path / "server.yaml"
    config.write_text("heartbeat_timeout_s: 5\nstale_after_s: 6\ncleanup_interval_s: 0.2\ngateways: 1\n")
    attempts = itertools.count()

    def asked_in_time() -> bool:
        # While the registry runs they do grow older, and where it takes too long to start they are old by then.
        return outlive((f"--config={config}", f"--data-dir={tmp_path / str(next(attempts))}")) < 5

    until(asked_in_time, "the registry was asked in time", 60)


def outlive(flags: Sequence[str]) -> float:
    """Kill a registry and start it again; for how long it ran meanwhile, before its services were listed.

    Fails the test if they are not as before, unless they may have become silent in that time.
    """
    with serve(flags=flags) as server:
        registered = time.monotonic()
        for number in range(3):
            server.ask("POST", "/services", service(f"s{number}", "http://127.0.0.1:9", metadata={"number": number}))
        before = server.services()
        server.run.kill()
        ran_s = time.monotonic() - registered
        server.run.leaves_nothing_running()
    until(lambda: time.time() > before["s2"]["last_heartbeat"] + 6, "they would be removed by the clock", 20)
    launched = time.monotonic()
    with serve(flags=flags) as server:
        after = server.services()
        ran_s += time.monotonic() - launched
        if ran_s >= 5:
            return ran_s
        assert list(after) == ["s0", "s1", "s2"]
        assert all(one["is_healthy"] for one in after.values())
        assert [one["metadata"] for one in after.values()] == [one["metadata"] for one in before.values()]
        assert server.ask("POST", "/services/s1/heartbeat").status_code == 200
        until(lambda: list(server.services()) == ["s1"], "those that send none are removed now", 20)
    return ran_s
