"""`actor-registry run` beside a whole registry, with a real llama.cpp server that it starts."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

import openai
import psutil

from demo.llama import MODEL
from tests.e2e.servers import Server, serve
from tests.polling import until
from tests.processes import program
from tests.registry.babysitter.nursery import ask, free_ports

# The server ends with its standard input, which a babysitter's server has none of.
SCRIPT = "sleep infinity | exec python -m demo.llama --port {port} --slots 1 --context 256"


def answers(server: Server) -> bool:
    """Whether a request for the model is answered."""
    try:
        answer = server.client.chat.completions.create(
            model=MODEL, messages=[{"role": "user", "content": "Hi"}], max_tokens=2
        )
    except openai.APIStatusError:
        return False
    return bool(answer.choices)


def test_a_server_with_a_babysitter() -> None:
    """It is routed to when it is ready, again after it was killed, and not at all after the babysitter has ended."""
    port = free_ports()
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    flags = ("--name", "tiny", "--port", str(port), "--restart-delay", "0.1", "--check-interval", "0.2")
    with (
        serve() as server,
        program("-m", "registry", "run", *flags, "--registry", server.url, "--", "sh", "-c", SCRIPT, PATH=path) as run,
    ):
        until(lambda: answers(server), "the model is routed to", 60)
        services = server.services()
        assert services["tiny-server"]["metadata"]["models"] == [MODEL]
        assert services["tiny"]["is_healthy"]
        assert ask(f"{server.url}/services/tiny-server/health") is not None
        until(lambda: server.services()["tiny-server"]["health_status"] == "healthy", "its /health was asked")
        (llama,) = (pid for pid in run.descendants() if "demo.llama" in psutil.Process(pid).cmdline())
        os.kill(llama, signal.SIGKILL)
        until(lambda: server.services()["tiny-server"]["status"] != "running", "the registry knows that it is down")
        until(lambda: answers(server), "the model is routed to again", 60)
        run.kill(signal.SIGTERM)
        assert run.ends() == 0
        assert server.services() == {}
        assert server.backends() == {}
        run.leaves_nothing_running()
