"""What a router and the integration script of InfiniLM-SVC need of our registry and of our babysitters."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from tests.e2e.servers import Server, serve
from tests.polling import until
from tests.processes import program
from tests.registry.babysitter.nursery import AI_SERVER, Control, ask, free_ports

MODELS = {"one": ["a", "shared"], "two": ["b", "shared"], "three": ["c"]}


@contextmanager
def babysitter(folder: Path, name: str, registry: str) -> Iterator[int]:
    """A babysitter that reads its file, for the time of the block; yields its server's port."""
    port, control = free_ports(), Control(folder / f"{name}.json", models=MODELS[name])
    file = folder / f"{name}.toml"
    file.write_text(
        f"""
        name = "babysitter-{name}"
        port = {port}
        registry_url = "{registry}"
        [babysitter]
        max_restarts = 10
        restart_delay = 2
        heartbeat_interval = 10
        [backend]
        type = "command"
        command = "{sys.executable}"
        args = ["-S", "{AI_SERVER}", "{port}", "{control.path}"]
        """
    )
    with program("-m", "registry", "run", "--config-file", str(file)):
        yield port


def routable(server: Server) -> list[dict[str, Any]]:
    """What a router takes from the registry: the healthy services with OpenAI's API."""
    listed = server.ask("GET", "/services?healthy=true").json()["services"]
    return [service for service in listed if service["metadata"].get("type") == "openai-api"]


def test_a_router_finds_servers_and_babysitters(tmp_path: Path) -> None:
    """Servers that register themselves too are found by both names, with their models and their babysitter's page."""
    with serve() as server, ExitStack() as stack:
        ports = {name: stack.enter_context(babysitter(tmp_path, name, server.url)) for name in MODELS}
        for name, port in ports.items():
            own = {"name": name, "host": "127.0.0.1", "hostname": "localhost", "port": port, "status": "running"}
            metadata = {"type": "openai-api", "models": MODELS[name]}
            answer = server.ask("POST", "/services", {**own, "url": f"http://127.0.0.1:{port}", "metadata": metadata})
            assert answer.status_code == 201
        until(lambda: len(routable(server)) == 6, "all are registered, some of them twice")
        found = {service["name"]: service for service in routable(server)}
        assert set(found) == {*MODELS, *(f"babysitter-{name}-server" for name in MODELS)}
        for name, port in ports.items():
            for service in (found[name], found[f"babysitter-{name}-server"]):
                assert service["url"] == f"http://{service['host']}:{port}"
                assert service["metadata"]["models"] == MODELS[name]
                # A router asks the babysitter how the server is: one port above it, on the same host.
                page = ask(f"http://{service['host']}:{service['port'] + 1}/health")
                assert page is not None
                assert (page.status, page.body["status"]) == (200, "healthy")
        assert sorted(server.backends()) == sorted(f"127.0.0.1:{port}" for port in ports.values())
        assert server.ask("GET", "/health").json()["registered_services"] == 9
    # The servers are ended with their babysitters.
    assert all(ask(f"http://127.0.0.1:{port}/v1/models") is None for port in ports.values())
