"""How a client's bytes become requests, and how those that cannot are refused."""

from __future__ import annotations

import asyncio
import contextlib

import pytest

from registry.gateway.http1.limits import ServerLimits
from registry.gateway.http1.messages import Request
from registry.gateway.http1.request_reader import RequestReader
from tests.loops import on_loop
from tests.registry.gateway.stand_ins import CALL, Peer, Received, get, post, send_whole, world


@on_loop
async def test_keep_alive_serves_many_requests() -> None:
    """A connection stays open for further requests until the client asks for its end."""
    async with world() as w:
        peer = await w.connect()
        assert (await w.ask_on(peer, get("/v1/models"))).status == 200
        last = await w.ask_on(peer, get("/v1/models", "Connection: close"))
        assert last.headers["connection"] == "close"
        assert await peer.ended()


@on_loop
async def test_pipelined_requests_are_answered_in_order() -> None:
    """Requests sent without waiting are handled one at a time, and answered in the order of their arrival."""
    at_work = 0

    async def echo(peer: Peer, request: Received) -> None:
        nonlocal at_work
        at_work += 1
        assert at_work == 1
        await asyncio.sleep(0)
        at_work -= 1
        send_whole(peer, request.body)

    async with world(echo) as w:
        peer = await w.connect()
        bodies = [b'{"model":"m","n":%d}' % number for number in range(100)]
        peer.send(*map(post, bodies))
        assert [(await peer.read_answer()).body for _ in bodies] == bodies


@on_loop
async def test_refusal_waits_for_the_answers_before_it() -> None:
    """Bytes that make no sense are refused only after the requests before them were answered."""
    async with world() as w:
        peer = await w.connect()
        peer.send(CALL, b"garbage\r\n\r\n")
        assert [(await peer.read_answer()).status for _ in range(2)] == [200, 400]
        assert await peer.ended()


@on_loop
async def test_request_may_come_byte_by_byte() -> None:
    """However a request is cut into pieces, it is the same request."""
    async with world() as w:
        peer = await w.connect()
        for position in range(len(CALL)):
            peer.send(CALL[position : position + 1])
            await asyncio.sleep(0)
        assert (await peer.read_answer()).status == 200
        assert (await w.upstream.requests.get()).body == b'{"model":"m"}'


def test_long_piece_of_many_requests_is_no_long_head() -> None:
    """Pipelined requests may come in pieces that begin and end anywhere, also in the middle of two heads."""
    delivered: list[Request] = []
    reader = RequestReader(ServerLimits(), delivered.append)
    sent = 2_000 * b"GET /livez HTTP/1.1\r\nhost: a\r\nuser-agent: somebody\r\n\r\n"
    for piece in (sent[:20], sent[20:-20], sent[-20:]):
        reader.feed(piece)
    assert len(delivered) == 2_000


@on_loop
async def test_head_has_no_body() -> None:
    """HEAD is answered like GET, with the length of the body but without it."""
    async with world() as w:
        peer = await w.connect()
        answer = await w.ask_on(peer, get("/v1/models", method="HEAD"))
        assert int(answer.headers["content-length"]) > 0
        assert (await w.ask_on(peer, get("/v1/models"))).json()["object"] == "list"


@on_loop
async def test_http_1_0_is_spoken() -> None:
    """An HTTP/1.0 client is answered without chunks, and its connection ends unless it asks to keep it."""

    async def two_parts(peer: Peer, request: Received) -> None:
        del request
        peer.send(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n")
        peer.send(b"3\r\na\n\n\r\n0\r\n\r\n")

    async with world(two_parts) as w:
        answer = await w.ask(CALL.replace(b"HTTP/1.1", b"HTTP/1.0"))
        assert answer.body == b"a\n\n"
        assert "transfer-encoding" not in answer.headers
        peer = await w.connect()
        kept = await w.ask_on(peer, get("/v1/models", "Connection: keep-alive", version="1.0"))
        assert kept.headers["connection"] == "keep-alive"
        assert (await w.ask_on(peer, get("/v1/models"))).status == 200


@on_loop
async def test_chunked_request_body_is_joined() -> None:
    """A body in chunks goes to the backend whole with its length; trailers go nowhere."""
    head = b"POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n"
    async with world() as w:
        answer = await w.ask(head + b'6\r\n{"mode\r\n7\r\nl":"m"}\r\n0\r\nX-Trailer: 1\r\n\r\n')
        assert answer.status == 200
        request = await w.upstream.requests.get()
        assert request.body == b'{"model":"m"}'
        assert request.headers["content-length"] == "13"
        assert not {"transfer-encoding", "x-trailer"} & set(request.headers)


@on_loop
async def test_expect_100_continue() -> None:
    """A client that waits for permission to send its body gets it, also behind another request."""
    head, _, body = post(b'{"model":"m"}', "Expect: 100-continue").partition(b"\r\n\r\n")
    async with world() as w:
        peer = await w.connect()
        for before in (b"", CALL):
            peer.send(before, head, b"\r\n\r\n")
            if before:
                assert (await peer.read_answer()).status == 200
            assert (await peer.read_answer()).status == 100
            peer.send(body)
            assert (await peer.read_answer()).status == 200


@on_loop
async def test_an_offer_of_another_protocol_is_ignored() -> None:
    """Java's client offers HTTP/2 with every request; it is answered in HTTP/1.1."""
    offer = ("Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", "HTTP2-Settings: AAEAAEAAAAIAAAABAAMAAABk")
    async with world() as w:
        peer = await w.connect()
        peer.send(post(b'{"model":"m"}', *offer), CALL)
        assert [(await peer.read_answer()).status for _ in range(2)] == [200, 200]


@pytest.mark.parametrize(
    "request_bytes",
    [
        b"\x16\x03\x01\x02\x00",
        b"GET /v1/models\r\n\r\n",
        b"GET /v1/models HTTP/1.1\r\n\r\n",
        b"GET /v1/models HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
        b"GET /v1/models HTTP/1.1\r\nHost: a\r\nX: a\x00b\r\n\r\n",
        b"GET /v1/models HTTP/1.1\r\nHost: a\r\nX: a\r\n b\r\n\r\n",
        b"POST /v1/completions HTTP/1.1\r\nHost: a\r\nContent-Length: x\r\n\r\n",
        b"POST /v1/completions HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n{}",
        b"POST /v1/completions HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"POST /v1/completions HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"CONNECT other:443 HTTP/1.1\r\nHost: other:443\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    ],
)
@on_loop
async def test_malformed_requests_get_400(request_bytes: bytes) -> None:
    """What is not one well-framed HTTP/1 request is answered with 400, and the connection ends."""
    async with world() as w:
        peer = await w.connect()
        answer = await w.ask_on(peer, request_bytes)
        assert (answer.status, answer.headers["connection"]) == (400, "close")
        assert answer.json()["error"]["type"] == "invalid_request_error"
        assert await peer.ended()
        assert w.registry.errors == [400]


@pytest.mark.parametrize("pieces", [1, 100])
@on_loop
async def test_long_headers_get_431(pieces: int) -> None:
    """Header fields over the limit are refused, whether they come at once or without end."""
    async with world(server=ServerLimits(max_head_bytes=10_000)) as w:
        peer = await w.connect()
        peer.send(b"GET /v1/models HTTP/1.1\r\nHost: localhost\r\nX: ")
        for _ in range(pieces):
            peer.send(b"x" * (12_000 // pieces))
            await asyncio.sleep(0)
        if pieces == 1:
            peer.send(b"\r\n\r\n")
        assert (await peer.read_answer()).status == 431


@on_loop
async def test_long_bodies_get_413() -> None:
    """A body over the limit is refused as soon as its length is known, or as soon as it is reached."""
    chunked = b"POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n"
    async with world(server=ServerLimits(max_body_bytes=1000)) as w:
        announced = await w.ask(post(b"", "Expect: 100-continue").replace(b"Length: 0", b"Length: 1001"))
        assert announced.status == 413
        assert (await w.ask(chunked + b"3e9\r\n" + b"x" * 1001)).status == 413
        assert announced.json()["error"]["code"] == "request_too_large"
        assert (await w.ask(post(b'{"model":"m"}'.ljust(1000)))).status == 200
        control = await w.ask(post(b"", path="/backends?x").replace(b"Length: 0", b"Length: 1001"))
        assert (control.status, control.headers["content-type"]) == (413, "application/problem+json")


@on_loop
async def test_refused_client_can_read_why() -> None:
    """A client that is still sending when it is refused can finish, and then read the refusal."""
    async with world(server=ServerLimits(max_body_bytes=1000)) as w:
        peer = await w.connect()
        peer.send(post(b"x" * 5_000_000))
        await peer.writer.drain()
        assert (await peer.read_answer()).status == 413
        assert await peer.ended()


@pytest.mark.parametrize("half", [b"GET /v1/mod", CALL[:-2]])
@on_loop
async def test_half_a_request_gets_408(half: bytes) -> None:
    """A request that does not arrive whole in time is answered with 408, and the connection ends."""
    async with world(server=ServerLimits(request_timeout_s=0.05, linger_s=0.05)) as w:
        peer = await w.connect()
        answer = await w.ask_on(peer, half)
        assert (answer.status, answer.headers["connection"]) == (408, "close")
        assert await peer.ended()


@on_loop
async def test_idle_connections_are_closed() -> None:
    """A connection without requests is closed silently after a while, at its start and later."""
    async with world(server=ServerLimits(idle_timeout_s=0.05)) as w:
        peer = await w.connect()
        assert await peer.ended()
        answer = None
        while answer is None:
            used = await w.connect()
            with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):  # this time it came too late
                answer = await w.ask_on(used, get("/v1/models"))
        assert answer.status == 200
        assert await used.ended()
        assert w.registry.errors == []


@on_loop
async def test_every_answer_names_gateway_and_request() -> None:
    """Good answers and refusals alike carry `X-Registry-Gateway` and `X-Request-Id`."""
    async with world() as w:
        for request in (CALL, get("/v1/models"), get("/nothing"), post(b"{"), b"garbage\r\n\r\n"):
            answer = await w.ask(request)
            assert answer.headers["x-registry-gateway"].startswith("gateway-1/")
            assert answer.headers["x-request-id"].startswith("req-")


@pytest.mark.parametrize(
    ("given", "taken"),
    [("abc-123", True), ("x" * 128, True), ("x" * 129, False), ("a b", False), ("\xe4", False), ("", False)],
)
@on_loop
async def test_sane_request_ids_are_taken_over(given: str, taken: bool) -> None:
    """A client's identifier is echoed and forwarded if it is visible ASCII of at most 128 characters."""
    async with world() as w:
        answer = await w.ask(post(b'{"model":"m"}', f"X-Request-Id: {given}"))
        forwarded = (await w.upstream.requests.get()).headers["x-request-id"]
        assert answer.headers["x-request-id"] == forwarded
        assert (forwarded == given) == taken


@pytest.mark.parametrize("endless", [b"0\r\nX: ", b"1;"])
@on_loop
async def test_endless_trailer_or_chunk_extension_is_refused(endless: bytes) -> None:
    """What comes with a chunked body and is none of it is bounded like a head."""
    async with world(server=ServerLimits(max_head_bytes=1_000)) as w:
        peer = await w.connect()
        peer.send(b"POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n", endless)
        refused = asyncio.ensure_future(peer.read_answer())
        while not refused.done():
            peer.send(b"a" * 400)
            await asyncio.sleep(0)
        assert (await refused).status == 413


@on_loop
async def test_body_in_small_chunks_is_no_endless_framing() -> None:
    """A body whose chunks are much smaller than their framing is taken as long as it is short."""
    body = b'{"model":"m"}'
    chunks = b"".join(b"1\r\n%c\r\n" % byte for byte in body)
    async with world() as w:
        peer = await w.connect()
        peer.send(b"POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n", chunks)
        peer.send(b"0\r\n\r\n")
        assert (await peer.read_answer()).status == 200
        assert (await w.upstream.requests.get()).body == body


@on_loop
async def test_deeply_nested_body_is_a_bad_request() -> None:
    """Nesting that no parser follows is the client's mistake, and is not logged as ours."""
    async with world() as w:
        answer = await w.ask(post(b'{"model":"m","x":' + b"[" * 100_000 + b"]" * 100_000 + b"}"))
        assert (answer.status, answer.json()["error"]["message"]) == (400, "The request body is nested too deeply.")
