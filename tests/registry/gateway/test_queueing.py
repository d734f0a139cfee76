"""Requests for backends that are all busy, with a real registry behind the gateway."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
from collections.abc import AsyncIterator, Iterator

import pytest

from registry import AsyncRegistry, Backend, BackendStatus, Model, Supervisor
from registry.gateway.app import Gateway
from registry.gateway.settings import GatewaySettings
from tests.loops import on_loop
from tests.registry.gateway.stand_ins import Answer, Peer, Received, Upstream, post, send_whole

CALL = post(json.dumps({"model": "m", "messages": []}).encode())


@pytest.fixture(scope="module")
def supervisor() -> Iterator[Supervisor]:
    """One system for all tests of this module."""
    with Supervisor() as running:
        yield running


class Busy:
    """A gateway, and a backend that is allowed one request at a time and answers when it is told to."""

    def __init__(self, registry: AsyncRegistry, port: int) -> None:
        self.registry = registry
        self._port = port
        self.upstream = Upstream(self._answer)
        self.may_answer = asyncio.Semaphore(0)
        self.under_way = self.most_under_way = 0

    async def _answer(self, peer: Peer, request: Received) -> None:
        del request
        self.under_way += 1
        self.most_under_way = max(self.most_under_way, self.under_way)
        await self.may_answer.acquire()
        self.under_way -= 1
        send_whole(peer, b'{"ok":true}')

    async def call(self) -> Peer:
        peer = Peer(*await asyncio.open_connection("127.0.0.1", self._port))
        peer.send(CALL)
        return peer

    async def ask(self) -> Answer:
        peer = await self.call()
        answer = await peer.read_answer()
        await peer.close()
        return answer

    async def waiting(self, count: int) -> None:
        """Return when so many requests stand in the owner's line."""
        while (await self.registry.owner_statistics()).waiting != count:
            pass


@contextlib.asynccontextmanager
async def busy(supervisor: Supervisor, queue_timeout_s: float = 30.0) -> AsyncIterator[Busy]:
    """A gateway whose one backend has a request under way that is not answered yet."""
    registry = AsyncRegistry(supervisor._handle.attach())
    with socket.create_server(("127.0.0.1", 0)) as listening:
        world = Busy(registry, listening.getsockname()[1])
        await world.upstream.start()
        backend = Backend(
            id="a", url=world.upstream.url, models=[Model(id="m")], status=BackendStatus.HEALTHY, max_concurrency=1
        )
        await registry.put_backend(backend)
        settings = GatewaySettings(name="gateway-1", loopback=True, tick_s=0.01, queue_timeout_s=queue_timeout_s)
        gateway = Gateway(registry, settings)
        gateway.serve(listening)
        first = await world.call()
        await world.upstream.requests.get()
        try:
            yield world
            world.may_answer.release()
            assert (await first.read_answer()).status == 200
        finally:
            await first.close()
            await gateway.drain(0)
            await world.upstream.stop()
            registry.close()


def test_requests_wait_for_a_free_backend(supervisor: Supervisor) -> None:
    """They are answered one after the other, and the backend never has more than it may have."""

    @on_loop
    async def run() -> None:
        async with busy(supervisor) as world:
            others = [asyncio.create_task(world.ask()) for _ in range(3)]
            await world.waiting(3)
            for _ in range(4):  # the first, which is under way, is answered too
                world.may_answer.release()
            assert [(await task).status for task in others] == [200, 200, 200]
            assert world.most_under_way == 1

    run()


def test_who_leaves_loses_the_place(supervisor: Supervisor) -> None:
    """A client that is gone keeps nobody behind it waiting and is not given the backend."""

    @on_loop
    async def run() -> None:
        async with busy(supervisor) as world:
            leaving = await world.call()
            await world.waiting(1)
            await leaving.close()
            await world.waiting(0)
            staying = asyncio.create_task(world.ask())
            await world.waiting(1)
            world.may_answer.release()
            world.may_answer.release()
            assert (await staying).status == 200
            assert world.upstream.requests.qsize() == 1

    run()


@pytest.mark.parametrize(
    ("queue_timeout_s", "retry_after", "message"),
    [(0, "1", "No free backend"), (0.05, "5", "became free within 0.05 s")],
)
def test_who_waits_in_vain_gets_503(
    supervisor: Supervisor, queue_timeout_s: float, retry_after: str, message: str
) -> None:
    """After the time that the operator allows, at once if that is none, the client is told when to come again."""

    @on_loop
    async def run() -> None:
        async with busy(supervisor, queue_timeout_s) as world:
            answer = await world.ask()
            assert (answer.status, answer.headers["retry-after"]) == (503, retry_after)
            assert message in answer.json()["error"]["message"]

    run()
