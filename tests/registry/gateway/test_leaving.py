"""Clients that leave, and gateways that do."""

from __future__ import annotations

import asyncio
import socket

import pytest

from registry.kinds import Outcome
from tests.loops import on_loop
from tests.registry.gateway.stand_ins import (
    CALL,
    STREAM_CALL,
    Peer,
    Received,
    chunk,
    get,
    send_whole,
    start_events,
    turns_until,
    world,
)


async def stream_and_wait(peer: Peer, request: Received) -> None:
    """A script: send one event and then nothing more."""
    del request
    start_events(peer)
    peer.send(chunk(b"data: 1\n\n"))
    await peer.ended()


async def never(peer: Peer, request: Received) -> None:
    """A script: do not answer."""
    del request
    await peer.ended()


@pytest.mark.parametrize("reset", [False, True])
@on_loop
async def test_leaving_in_mid_stream_frees_lease_and_backend(reset: bool) -> None:
    """When the client leaves a stream, its lease is given back and the backend's connection is closed."""
    async with world(stream_and_wait) as w:
        peer = await w.connect()
        peer.send(STREAM_CALL)
        await peer.read_head()
        assert await peer.read_chunk() == b"data: 1\n\n"
        if reset:
            peer.cut()
        else:
            await peer.close()
        assert await w.registry.released.get() == ("a", Outcome.CANCELLED)
        await w.upstream.ended.get()
        assert not w.registry.held


@on_loop
async def test_leaving_before_the_answer_frees_lease_and_backend() -> None:
    """When the client leaves while the backend thinks, it is the same."""
    async with world(never) as w:
        peer = await w.connect()
        peer.send(CALL)
        await w.upstream.requests.get()
        await peer.close()
        assert await w.registry.released.get() == ("a", Outcome.CANCELLED)
        await w.upstream.ended.get()


@on_loop
async def test_leaving_with_requests_behind_is_noticed() -> None:
    """A client that has sent more requests than were answered is missed just as soon, and the rest is dropped."""
    async with world(never) as w:
        peer = await w.connect()
        peer.send(CALL * 3)
        await w.upstream.requests.get()
        await peer.close()
        assert await w.registry.released.get() == ("a", Outcome.CANCELLED)
        await w.gateway.drain(5)
        assert w.upstream.requests.empty()


@on_loop
async def test_leaving_while_the_owner_is_asked_ends_the_call() -> None:
    """When the client leaves while a lease is waited for, the waiting ends and no backend is asked."""
    async with world() as w:
        w.registry.grant_allowed = asyncio.Event()
        peer = await w.connect()
        peer.send(CALL)
        await w.registry.acquired.wait()
        await peer.close()
        assert await w.gateway.drain(5) == 0
        assert w.upstream.connections == 0
        assert not w.registry.held


@on_loop
async def test_closing_the_sending_side_is_leaving() -> None:
    """A client that can send nothing more is taken to be gone."""
    async with world(never) as w:
        peer = await w.connect()
        peer.send(CALL)
        await w.upstream.requests.get()
        peer.writer.write_eof()
        assert await w.registry.released.get() == ("a", Outcome.CANCELLED)


@on_loop
async def test_leaving_with_answers_unread_is_noticed() -> None:
    """A client that leaves without reading what was sent to it does not keep its lease until somebody gives up."""

    async def flood(peer: Peer, request: Received) -> None:
        del request
        start_events(peer)
        while True:
            peer.send(chunk(b"data: " + b"x" * 65_000 + b"\n\n"))
            await peer.writer.drain()

    async with world(flood) as w:
        peer = await w.connect()
        peer.send(STREAM_CALL)
        await peer.read_head()
        peer.reader._transport.pause_reading()  # type: ignore[attr-defined]
        await turns_until(lambda: any(client._write_paused for client in w.gateway._listener._connections))
        peer.writer.write_eof()
        assert await w.registry.released.get() == ("a", Outcome.CANCELLED)
        await w.upstream.ended.get()


@on_loop
async def test_drain_answers_a_request_on_its_way() -> None:
    """A request that had begun to arrive when the drain began is answered, with `Connection: close`."""
    async with world() as w:
        peer = await w.connect()
        peer.send(CALL[:20])
        await turns_until(lambda: any(client._reader.in_request for client in w.gateway._listener._connections))
        draining = asyncio.create_task(w.gateway.drain(20))
        await asyncio.sleep(0)
        peer.send(CALL[20:])
        answer = await peer.read_answer()
        assert (answer.status, answer.headers["connection"]) == (200, "close")
        assert await draining == 0


@on_loop
async def test_drain_lets_requests_finish() -> None:
    """Draining closes idle connections at once, and lets the others finish with `Connection: close`."""
    go_on = asyncio.Event()

    async def when_told(peer: Peer, request: Received) -> None:
        await go_on.wait()
        send_whole(peer, request.body)

    async with world(when_told) as w:
        idle, busy = await w.connect(), await w.connect()
        assert (await w.ask_on(idle, get("/v1/models"))).status == 200
        busy.send(CALL)
        await w.upstream.requests.get()
        draining = asyncio.create_task(w.gateway.drain(20))
        assert await idle.ended()
        assert w.gateway.leaving.is_set()
        go_on.set()
        answer = await busy.read_answer()
        assert (answer.status, answer.headers["connection"]) == (200, "close")
        assert await busy.ended()
        assert await draining == 0
        assert w.gateway.connections == 0


@on_loop
async def test_drain_ends_at_its_deadline() -> None:
    """What has not finished by the deadline is cut off, with its lease given back before `drain` returns."""
    async with world(stream_and_wait) as w:
        peer = await w.connect()
        peer.send(STREAM_CALL)
        await peer.read_head()
        assert await w.gateway.drain(0.05) == 1
        assert w.registry.released.get_nowait() == ("a", Outcome.CANCELLED)
        assert (await w.upstream.requests.get()).body
        await w.upstream.ended.get()


@on_loop
async def test_draining_gateway_leaves_new_clients_to_others() -> None:
    """A client that comes while one gateway drains is served by another one on the same socket."""
    async with world() as leaving:
        with socket.create_server(("127.0.0.1", 0)) as shared:
            # A duplicate for each, as processes that share a socket have it.
            first, second = shared.dup(), shared.dup()
            leaving.gateway.serve(first)
            await leaving.gateway.drain(1)
            async with world() as staying:
                staying.gateway.serve(second)
                peer = Peer(*await asyncio.open_connection(*shared.getsockname()))
                peer.send(get("/v1/models"))
                assert (await peer.read_answer()).status == 200
                assert (leaving.gateway.connections, staying.gateway.connections) == (0, 1)
                await peer.close()
                await staying.gateway.drain(1)
            first.close()
            second.close()


@on_loop
async def test_faulty_handler_costs_one_answer() -> None:
    """An unforeseen error gets 500, is not shown to the client, and the process goes on."""
    async with world() as w:
        w.registry.failure = RuntimeError("a secret detail")
        answer = await w.ask(CALL)
        assert (answer.status, answer.json()["error"]["type"]) == (500, "internal_server_error")
        assert b"secret" not in answer.received
        w.registry.failure = None
        assert (await w.ask(CALL)).status == 200
