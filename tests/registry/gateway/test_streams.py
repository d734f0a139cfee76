"""Answers that come as a stream of events."""

from __future__ import annotations

import asyncio
import json

import pytest

from registry.gateway.http1.limits import ServerLimits, UpstreamLimits
from registry.kinds import Outcome
from tests.loops import on_loop
from tests.registry.gateway.stand_ins import (
    CALL,
    STREAM_CALL,
    Peer,
    Received,
    chunk,
    get,
    start_events,
    world,
)


def events_of(stream: bytes) -> list[str]:
    """The data of each event, read as a client of OpenAI's reads it: an unfinished event does not count."""
    blocks = stream.decode().replace("\r\n", "\n").split("\n\n")[:-1]
    return [block.strip("\n").removeprefix("data: ") for block in blocks if block.strip("\n")]


@on_loop
async def test_events_pass_as_they_come() -> None:
    """Each event reaches the client before the backend sends the next."""
    next_wanted = asyncio.Semaphore(0)

    async def on_demand(peer: Peer, request: Received) -> None:
        del request
        start_events(peer)
        for number in range(3):
            await next_wanted.acquire()
            peer.send(chunk(b"data: %d\n\n" % number))
        await next_wanted.acquire()
        peer.send(b"0\r\n\r\n")

    async with world(on_demand) as w:
        peer = await w.connect()
        peer.send(STREAM_CALL)
        first, headers = await peer.read_head()
        assert (first, headers["content-type"]) == ("HTTP/1.1 200 OK", "text/event-stream")
        assert headers["x-registry-backend"] == "a"
        for number in range(3):
            next_wanted.release()
            assert await peer.read_chunk() == b"data: %d\n\n" % number
            assert w.registry.held
        next_wanted.release()
        assert await peer.read_chunk() == b""
        assert await w.registry.released.get() == ("a", Outcome.OK)
        assert (await w.ask_on(peer, get("/v1/models"))).status == 200


@pytest.mark.parametrize(
    ("sent", "events"),
    [
        (b"", []),
        (b"data: 1\n\n", ["1"]),
        (b"data: 1\n\ndata: 2\n", ["1", "2"]),
        (b'data: 1\n\ndata: {"choi', ["1"]),
        (b"data: 1\r\n\r\n", ["1"]),
    ],
)
@on_loop
async def test_break_in_mid_stream_is_told(sent: bytes, events: list[str]) -> None:
    """A stream the backend breaks off ends with an error event that stands by itself, never as if it were whole."""

    async def break_off(peer: Peer, request: Received) -> None:
        del request
        start_events(peer)
        if sent:
            peer.send(chunk(sent))
        await peer.writer.drain()
        await peer.close()

    async with world(break_off) as w:
        peer = await w.connect()
        answer = await w.ask_on(peer, STREAM_CALL)
        assert answer.body is not None
        got = events_of(answer.body)
        assert got[:-2] == events
        error = json.loads(got[-2])["error"]
        assert set(error) == {"message", "type", "param", "code"}
        assert error["type"] == "bad_gateway"
        assert got[-1] == "[DONE]"
        assert await w.registry.released.get() == ("a", Outcome.BROKEN)
        assert (await w.ask_on(peer, get("/v1/models"))).status == 200


@on_loop
async def test_stream_may_end_within_a_line() -> None:
    """A stream that the backend ends regularly arrives whole, even if its last line has no end."""

    async def unfinished_line(peer: Peer, request: Received) -> None:
        del request
        start_events(peer)
        peer.send(chunk(b"data: 1\n\ndata: [DONE]"), b"0\r\n\r\n")

    async with world(unfinished_line) as w:
        assert (await w.ask(STREAM_CALL)).body == b"data: 1\n\ndata: [DONE]"


@on_loop
async def test_stream_that_stalls_is_broken_off() -> None:
    """A backend that falls silent within a stream does not hold its lease for ever."""

    async def stall(peer: Peer, request: Received) -> None:
        del request
        start_events(peer)
        peer.send(chunk(b"data: 1\n\n"))
        await peer.ended()

    async with world(stall, upstream=UpstreamLimits(stalled_timeout_s=0.05)) as w:
        answer = await w.ask(STREAM_CALL)
        assert json.loads(events_of(answer.received)[1])["error"]["type"] == "gateway_timeout"
        assert await w.registry.released.get() == ("a", Outcome.TIMEOUT)
        await w.upstream.ended.get()


@on_loop
async def test_break_of_a_compressed_stream_cuts_the_client_off() -> None:
    """Nothing can be added to compressed bytes, so only a cut connection says that they are not all."""

    async def break_off(peer: Peer, request: Received) -> None:
        del request
        start_events(peer, "content-encoding: gzip\r\n")
        peer.send(chunk(b"\x1f\x8b no line end"))
        await peer.writer.drain()
        await peer.close()

    async with world(break_off) as w:
        answer = await w.ask(STREAM_CALL)
        assert answer.body is None
        assert b"error" not in answer.received
        assert await w.registry.released.get() == ("a", Outcome.BROKEN)


@on_loop
async def test_slow_reader_slows_the_backend_down() -> None:
    """While a client does not read, the backend cannot send more than a bounded amount; nothing is lost."""
    event = b"data: " + b"x" * 65_000 + b"\n\n"
    count = 400
    blocked = asyncio.Event()

    async def flood(peer: Peer, request: Received) -> None:
        del request
        start_events(peer)
        for number in range(count):
            peer.send(chunk(event))
            try:
                async with asyncio.timeout(0.5):
                    await peer.writer.drain()
            except TimeoutError:
                assert number < count - 1
                blocked.set()
                await peer.writer.drain()
        peer.send(b"0\r\n\r\n")

    async with world(flood) as w:
        peer = await w.connect()
        peer.send(STREAM_CALL)
        await blocked.wait()
        answer = await peer.read_answer()
        assert answer.body == event * count


@on_loop
async def test_client_that_stops_reading_is_cut_off() -> None:
    """A client that reads nothing for too long loses its lease, so that it cannot hold a backend for ever."""

    async def flood(peer: Peer, request: Received) -> None:
        del request
        start_events(peer)
        while True:
            peer.send(chunk(b"data: " + b"x" * 65_000 + b"\n\n"))
            await peer.writer.drain()

    async with world(flood, server=ServerLimits(stalled_timeout_s=0.05)) as w:
        peer = await w.connect()
        peer.send(CALL)
        await peer.read_head()
        assert await w.registry.released.get() == ("a", Outcome.CANCELLED)
        await w.upstream.ended.get()


@on_loop
async def test_stream_that_was_done_before_it_broke_is_whole() -> None:
    """After `[DONE]` a connection that ends badly adds nothing: no error, no second end."""

    async def done_then_gone(peer: Peer, request: Received) -> None:
        del request
        start_events(peer)
        peer.send(chunk(b"data: 1\n\ndata: [DONE]\n\n"))
        await peer.writer.drain()
        await peer.close()

    async with world(done_then_gone) as w:
        assert (await w.ask(STREAM_CALL)).body == b"data: 1\n\ndata: [DONE]\n\n"
