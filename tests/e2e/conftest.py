"""Real model servers for the tests that use the whole product."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest

from demo.llama import LlamaServer


@pytest.fixture(scope="session")
def llama_servers() -> Iterator[tuple[LlamaServer, LlamaServer]]:
    """Two llama.cpp servers that all tests share; a test that stops or kills one takes `start_llama`."""
    with ExitStack() as stack:
        servers = (LlamaServer(), LlamaServer())
        for server in servers:
            stack.callback(server.stop)
            server.launch()
        for server in servers:
            server.wait_ready()
        yield servers


@pytest.fixture
def start_llama() -> Iterator[Callable[..., LlamaServer]]:
    """Starts llama.cpp servers for one test, with the arguments of `LlamaServer`, and stops them after it."""
    with ExitStack() as stack:

        def start(*, port: int = 0, slots: int = 4) -> LlamaServer:
            server = LlamaServer(port=port, slots=slots)
            stack.callback(server.stop)
            server.start()
            return server

        yield start
