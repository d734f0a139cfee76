"""Both clients, called in the same way."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from registry.services import AsyncServiceClient, ServiceClient

FACES = ["blocking", "async"]


class Caller:
    """Calls methods of a client by name, and waits for the result."""

    def __init__(self, client: ServiceClient | AsyncServiceClient, runner: asyncio.Runner) -> None:
        self.client = client
        self._runner = runner

    def __call__(self, method: str, *args: Any, **kwargs: Any) -> Any:
        called = getattr(self.client, method)
        if isinstance(self.client, ServiceClient):
            return called(*args, **kwargs)

        async def call() -> Any:
            return await called(*args, **kwargs)

        return self._runner.run(call())


@contextmanager
def calling(face: str, url: str, **options: Any) -> Iterator[Caller]:
    """A client of a kind, for the time of the block."""
    with asyncio.Runner() as runner:
        client = ServiceClient(url, **options) if face == "blocking" else AsyncServiceClient(url, **options)
        caller = Caller(client, runner)
        try:
            yield caller
        finally:
            caller("close")
