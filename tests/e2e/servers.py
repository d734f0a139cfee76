"""`actor-registry serve` as the end-to-end tests run it, and what they ask it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import httpx2
import openai

from demo.llama import MODEL, LlamaServer
from tests.polling import until
from tests.processes import Program, program

STORY = "Tell me a very long story about a lighthouse keeper and the sea."


class Server:
    """A running `actor-registry serve` and a client of it.

    Attributes:
        run: Its main process.
        url: Its base address.
    """

    def __init__(self, run: Program) -> None:
        self.run = run
        self.url = until(run.address, "the server says where it serves", 30)
        self.client = openai.OpenAI(base_url=f"{self.url}/v1", api_key="none", max_retries=0)

    def backends(self) -> dict[str, dict[str, Any]]:
        """`GET /backends`, by id."""
        return {backend["id"]: backend for backend in self.ask("GET", "/backends").json()["backends"]}

    def services(self) -> dict[str, dict[str, Any]]:
        """`GET /services`, by name."""
        return {service["name"]: service for service in self.ask("GET", "/services").json()["services"]}

    def ask(self, method: str, path: str, body: object = None) -> httpx2.Response:
        """Any request, over a connection of its own."""
        return httpx2.request(method, f"{self.url}{path}", json=body, timeout=20, trust_env=False)

    def in_flight(self) -> int:
        """All pending requests."""
        return sum(backend["pending_requests"] for backend in self.backends().values())

    def stream(self, words: int = 400) -> openai.Stream[openai.types.chat.ChatCompletionChunk]:
        """A long streamed answer."""
        return self.client.chat.completions.create(
            model=MODEL, messages=[{"role": "user", "content": STORY}], stream=True, max_tokens=words
        )


@contextmanager
def serve(*llamas: LlamaServer, flags: Sequence[str] = ("--ephemeral",)) -> Iterator[Server]:
    """A server with these backends, all healthy."""
    named = [f"--backend={llama.url}" for llama in llamas]
    with program("-m", "registry", "serve", "--port=0", *flags, *named) as run:
        server = Server(run)
        until(lambda: all(one["status"] == "healthy" for one in server.backends().values()), "all are healthy")
        with server.client:
            yield server
