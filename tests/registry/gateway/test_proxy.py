"""What a completion request and its answer look like on both sides of the gateway."""

from __future__ import annotations

import json

import pytest

from actors.errors import CallTimeout, Overloaded, SystemStopped
from registry.errors import NoBackendAvailable, QueueFull
from registry.gateway.http1.limits import UpstreamLimits
from registry.gateway.settings import GatewaySettings
from registry.kinds import Outcome
from tests.loops import on_loop
from tests.registry.gateway.stand_ins import (
    CALL,
    Peer,
    Received,
    closed_port_url,
    get,
    post,
    send_whole,
    world,
)


async def say_nothing(peer: Peer, request: Received) -> None:
    """A script: take the request and never answer."""
    del request
    await peer.ended()


@on_loop
async def test_body_and_end_to_end_headers_pass_untouched() -> None:
    """The backend gets the client's body byte by byte and its fields, but none that speak of the connection."""
    body = b' {"stream": null, "model":"m",\n "x": 1.50, "emoji": "\xf0\x9f\xa6\x99"} '
    hop_by_hop = (
        "Connection: keep-alive, X-Secret-Hop",
        "X-Secret-Hop: 1",
        "Keep-Alive: timeout=5",
        "TE: trailers",
        "Proxy-Authorization: Basic eA==",
        "Upgrade: websocket",
    )
    async with world() as w:
        await w.ask(post(body, "Authorization: Bearer client", "X-Custom: a", "Accept: */*", *hop_by_hop))
        request = await w.upstream.requests.get()
        assert request.line == "POST /v1/chat/completions HTTP/1.1"
        assert request.body == body
        del request.headers["x-request-id"]
        assert request.headers == {
            "host": w.upstream.url.removeprefix("http://"),
            "x-custom": "a",
            "accept": "*/*",
            "content-length": str(len(body)),
            "via": "1.1 actor-registry",
        }


@on_loop
async def test_answer_passes_but_for_its_hop_by_hop_fields() -> None:
    """The client gets the backend's status, fields and body, and learns which backend it was."""

    async def answer(peer: Peer, request: Received) -> None:
        del request
        fields = (
            "X-Engine: e\r\nSet-Cookie: a\r\nSet-Cookie: b\r\nConnection: X-Hop\r\nX-Hop: 1\r\nX-Request-Id: theirs\r\n"
        )
        send_whole(peer, b"{}", "418 I'm a Teapot", fields)

    async with world(answer) as w:
        got = await w.ask(post(b'{"model":"m"}', "X-Request-Id: mine"))
        assert (got.status, got.body) == (418, b"{}")
        assert got.headers["x-engine"] == "e"
        assert got.headers["x-registry-backend"] == "a"
        assert got.headers["x-request-id"] == "mine"
        assert "x-hop" not in got.headers
        assert w.registry.errors == []


@on_loop
async def test_the_clients_key_is_passed_on_only_where_that_is_wanted() -> None:
    """A client's `Authorization` reaches a backend only if the operator says so."""
    async with world(forward_authorization=True) as w:
        await w.ask(post(b'{"model":"m"}', "Authorization: Bearer client"))
        assert (await w.upstream.requests.get()).headers["authorization"] == "Bearer client"


@on_loop
async def test_configured_key_replaces_the_clients() -> None:
    """A backend with a key of its own gets that one, and never the client's."""
    async with world() as w:
        await w.ask(CALL)
        url = w.upstream.url
        async with world(backends={"keyed": url}, api_keys={url + "/": "s3cret"}, forward_authorization=True) as keyed:
            await keyed.ask(post(b'{"model":"m"}', "Authorization: Bearer client"))
        await w.upstream.requests.get()
        assert (await w.upstream.requests.get()).headers["authorization"] == "Bearer s3cret"


@pytest.mark.parametrize(("suffix", "path"), [("/llm/", "/llm/v1/completions"), ("/v1", "/v1/completions")])
@on_loop
async def test_path_of_the_backend_url_comes_first(suffix: str, path: str) -> None:
    """A backend behind a path is asked there; one whose URL ends in `/v1` is not asked for `/v1/v1`."""
    async with world() as w:
        w.registry.backends["a"] = w.upstream.url + suffix
        await w.ask(post(b'{"model":"m"}', path="/v1/completions?a=b"))
        assert (await w.upstream.requests.get()).line == f"POST {path}?a=b HTTP/1.1"


@pytest.mark.parametrize(
    ("status", "outcome"),
    [
        ("200 OK", Outcome.OK),
        ("400 Bad Request", Outcome.CLIENT_ERROR),
        ("429 Too Many Requests", Outcome.CLIENT_ERROR),
        ("503 Service Unavailable", Outcome.SERVER_ERROR),
    ],
)
@on_loop
async def test_backend_errors_pass_through(status: str, outcome: Outcome) -> None:
    """A backend's error answer reaches the client as it is, and the registry learns what kind it was."""

    async def answer(peer: Peer, request: Received) -> None:
        del request
        send_whole(peer, b'{"error":"theirs"}', status)

    async with world(answer) as w:
        got = await w.ask(CALL)
        assert (got.status, got.body) == (int(status[:3]), b'{"error":"theirs"}')
        assert await w.registry.released.get() == ("a", outcome)
        latency_ms, first_byte_ms = w.registry.timings[0]
        assert latency_ms is not None
        assert first_byte_ms is not None
        assert 0 <= first_byte_ms <= latency_ms


@pytest.mark.parametrize(
    ("body", "param"),
    [
        (b"", None),
        (b"{", None),
        (b"[]", None),
        (b"\xff", None),
        (b'{"model":"\xff"}', None),
        (b'{"messages":[]}', "model"),
        (b'{"model":null}', "model"),
        (b'{"model":""}', "model"),
        (b'{"model":7}', "model"),
        (b'{"model":["m"]}', "model"),
        (b'{"model":"m","stream":"yes"}', "stream"),
        (b'{"model":"m","stream":1}', "stream"),
    ],
)
@on_loop
async def test_bad_calls_get_400_with_the_field(body: bytes, param: str | None) -> None:
    """A body that is no call is refused with OpenAI's error object, which names the field at fault."""
    async with world() as w:
        answer = await w.ask(post(body))
        error = answer.json()["error"]
        assert answer.status == 400
        assert set(error) == {"message", "type", "param", "code"}
        assert (error["type"], error["param"]) == ("invalid_request_error", param)
        assert not w.registry.acquired.is_set()
        assert w.registry.errors == [400]


@on_loop
async def test_unknown_model_gets_404() -> None:
    """A model that nobody has is not found, and the message says what there is."""
    async with world() as w:
        answer = await w.ask(post(b'{"model":"gpt-9"}'))
        assert answer.status == 404
        assert answer.json() == {
            "error": {
                "message": "Model 'gpt-9' not found. Available: m",
                "type": "invalid_request_error",
                "param": "model",
                "code": "model_not_found",
            }
        }


@pytest.mark.parametrize(
    ("failure", "retry_after"),
    [
        (NoBackendAvailable("m", 2.2), "3"),
        (QueueFull("m", 1_000), "5"),
        (CallTimeout("late"), "5"),
        (Overloaded("full"), "1"),
        (SystemStopped("over"), "1"),
    ],
)
@on_loop
async def test_nothing_available_gets_503(failure: Exception, retry_after: str) -> None:
    """Without a healthy backend, or without the owner, the client is told when to come again."""
    async with world() as w:
        w.registry.failure = failure
        answer = await w.ask(CALL)
        assert (answer.status, answer.headers["retry-after"]) == (503, retry_after)
        assert answer.json()["error"]["type"] == "service_unavailable"


@pytest.mark.parametrize(
    ("request_bytes", "status", "allow"),
    [
        (get("/v1/nothing"), 404, None),
        (get("/v1"), 404, None),
        (get("/v1/chat/completions"), 405, "POST"),
        (post(b"{}", path="/v1/models"), 405, "GET, HEAD"),
    ],
)
@on_loop
async def test_wrong_path_or_method(request_bytes: bytes, status: int, allow: str | None) -> None:
    """Under `/v1` even a wrong path or method is answered with OpenAI's error object."""
    async with world() as w:
        answer = await w.ask(request_bytes)
        assert (answer.status, answer.headers.get("allow")) == (status, allow)
        assert answer.json()["error"]["type"] == "invalid_request_error"


@on_loop
async def test_refused_connection_is_tried_on_another_backend() -> None:
    """A backend that cannot be reached gets one stand-in, and the client notices nothing."""
    async with world(backends={"dead": closed_port_url()}) as w:
        answer = await w.ask(CALL)
        assert (answer.status, answer.headers["x-registry-backend"]) == (200, "a")
        assert await w.registry.released.get() == ("dead", Outcome.UNREACHABLE)
        assert await w.registry.released.get() == ("a", Outcome.OK)


@pytest.mark.parametrize("dead", [1, 2, 3])
@on_loop
async def test_two_refused_connections_are_enough(dead: int) -> None:
    """When the second backend cannot be reached either, or there is none, the client is told to try again later."""
    async with world() as w:
        w.registry.backends = {f"dead-{number}": closed_port_url() for number in range(dead)}
        answer = await w.ask(CALL)
        assert (answer.status, answer.json()["error"]["code"]) == (503, "service_unavailable")
        assert answer.headers["retry-after"] == "5"
        assert w.registry.released.qsize() == min(dead, 2)
        assert not w.registry.held


@on_loop
async def test_silent_backend_gets_504() -> None:
    """A backend that takes the request and does not begin to answer is given up, without a second try."""
    async with world(say_nothing, upstream=UpstreamLimits(first_byte_timeout_s=0.05)) as w:
        answer = await w.ask(CALL)
        assert (answer.status, answer.json()["error"]["type"]) == (504, "gateway_timeout")
        assert await w.registry.released.get() == ("a", Outcome.TIMEOUT)
        await w.upstream.ended.get()
        assert w.upstream.connections == 1


@pytest.mark.parametrize(
    "broken",
    [
        b"",
        b"HTTP/1.1 200",
        b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\n12345",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\n12345\r\n",
        b"this is not HTTP\r\n\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: x\r\n\r\n",
    ],
)
@on_loop
async def test_break_before_the_end_gets_a_clean_502(broken: bytes) -> None:
    """An answer that is not whole never reaches the client as if it were."""

    async def break_off(peer: Peer, request: Received) -> None:
        del request
        peer.send(broken)
        await peer.writer.drain()
        await peer.close()

    async with world(break_off) as w:
        answer = await w.ask(CALL)
        assert (answer.status, answer.json()["error"]["code"]) == (502, "bad_gateway")
        assert await w.registry.released.get() == ("a", Outcome.BROKEN)
        assert w.upstream.connections == 1


@on_loop
async def test_answer_may_end_with_its_connection() -> None:
    """An answer of unknown length, as HTTP/1.0 servers send it, ends when the server closes."""

    async def old_style(peer: Peer, request: Received) -> None:
        del request
        peer.send(b"HTTP/1.0 200 OK\r\ncontent-type: text/plain\r\n\r\nall")
        await peer.writer.drain()
        await peer.close()

    async with world(old_style) as w:
        answer = await w.ask(CALL)
        assert (answer.status, answer.body, answer.headers["content-length"]) == (200, b"all", "3")


@on_loop
async def test_interim_answers_are_skipped() -> None:
    """`100 Continue` and `103 Early Hints` of a backend are not taken for its answer."""

    async def hesitant(peer: Peer, request: Received) -> None:
        del request
        peer.send(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n")
        send_whole(peer, b"{}")

    async with world(hesitant) as w:
        answer = await w.ask(CALL)
        assert (answer.status, answer.body) == (200, b"{}")
        assert "link" not in answer.headers


@on_loop
async def test_trailers_of_an_answer_are_dropped() -> None:
    """Fields that a backend sends behind a chunked body do not become header fields."""

    async def with_trailer(peer: Peer, request: Received) -> None:
        del request
        peer.send(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\nx-trailer: 1\r\n\r\n")

    async with world(with_trailer) as w:
        answer = await w.ask(CALL)
        assert answer.body == b"{}"
        assert "x-trailer" not in answer.headers


@on_loop
async def test_connections_to_backends_are_kept() -> None:
    """The next request goes over the same connection to the backend."""
    async with world() as w:
        for _ in range(3):
            assert (await w.ask(CALL)).status == 200
        assert w.upstream.connections == 1


@on_loop
async def test_stale_connection_is_replaced() -> None:
    """A kept connection that the backend closes instead of answering is replaced, and the client notices nothing."""
    seen = 0

    async def close_second(peer: Peer, request: Received) -> None:
        nonlocal seen
        seen += 1
        if seen == 2:
            peer.cut()
        else:
            send_whole(peer, request.body)

    async with world(close_second) as w:
        assert [(await w.ask(CALL)).status for _ in range(2)] == [200, 200]
        assert (seen, w.upstream.connections) == (3, 2)
        assert [w.registry.released.get_nowait() for _ in range(2)] == [("a", Outcome.OK)] * 2


@on_loop
async def test_answer_that_has_begun_is_not_asked_for_again() -> None:
    """A kept connection that breaks after the first byte of an answer is no stale one: the request was at work."""
    seen = 0

    async def break_second(peer: Peer, request: Received) -> None:
        nonlocal seen
        seen += 1
        if seen == 2:
            peer.send(b"HTTP/1.1 200")
            await peer.writer.drain()
            await peer.close()
        else:
            send_whole(peer, request.body)

    async with world(break_second) as w:
        assert [(await w.ask(CALL)).status for _ in range(2)] == [200, 502]
        assert seen == 2


@on_loop
async def test_connection_the_server_will_close_is_not_kept() -> None:
    """A backend's `Connection: close` is respected."""

    async def once(peer: Peer, request: Received) -> None:
        send_whole(peer, request.body, fields="connection: close\r\n")

    async with world(once) as w:
        for _ in range(2):
            assert (await w.ask(CALL)).status == 200
        assert w.upstream.connections == 2


@on_loop
async def test_unused_connections_are_closed_in_time() -> None:
    """A connection to a backend that nobody needs any more is closed."""
    async with world(upstream=UpstreamLimits(idle_timeout_s=0.02)) as w:
        await w.ask(CALL)
        await w.upstream.ended.get()


@on_loop
async def test_longest_answers_pass_without_being_kept() -> None:
    """An answer too long to be held back is passed on as it comes, and a break in it cuts the client off."""
    body = b"x" * 300_000

    async def long_answer(peer: Peer, request: Received) -> None:
        whole = json.loads(request.body)["whole"]
        peer.send(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % len(body), body if whole else body[:200_000])
        await peer.writer.drain()
        if not whole:
            await peer.close()

    async with world(long_answer, max_buffered_bytes=100_000) as w:
        answer = await w.ask(post(b'{"model":"m","whole":true}'))
        assert answer.body == body
        assert await w.registry.released.get() == ("a", Outcome.OK)
        answer = await w.ask(post(b'{"model":"m","whole":false}'))
        assert answer.body is None
        assert await w.registry.released.get() == ("a", Outcome.BROKEN)


@on_loop
async def test_backend_names_cannot_break_the_head() -> None:
    """A backend's id with a line end in it does not become a header field of its own."""
    async with world() as w:
        w.registry.backends = {"a\r\nset-cookie: x": w.upstream.url}
        answer = await w.ask(CALL)
        assert answer.headers["x-registry-backend"] == "a%0D%0Aset-cookie:%20x"
        assert "set-cookie" not in answer.headers


@on_loop
async def test_secrets_do_not_show() -> None:
    """Neither the settings nor an error answer shows a backend's key."""
    url = closed_port_url()
    settings = GatewaySettings(name="gateway-1", loopback=True, api_keys={url: "s3cret"})
    assert "s3cret" not in repr(settings)
    async with world(backends={"dead": url}, api_keys=settings.api_keys) as w:
        del w.registry.backends["a"]
        answer = await w.ask(CALL)
        assert answer.status == 503
        assert b"s3cret" not in answer.received


@on_loop
async def test_surplus_answer_is_dropped_with_its_connection() -> None:
    """A second answer that nobody asked for changes nothing of the first, and the connection is not used again."""

    async def two(peer: Peer, request: Received) -> None:
        del request
        first = b"HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nabc"
        peer.send(first + b"HTTP/1.1 418 Teapot\r\ncontent-length: 5\r\n\r\nEVIL!")

    async with world(two) as w:
        for _ in range(2):
            answer = await w.ask(CALL)
            assert (answer.status, answer.body) == (200, b"abc")
            await w.upstream.ended.get()


@on_loop
async def test_status_below_100_is_no_interim_answer() -> None:
    """A status that HTTP does not know is an answer at once, and not something to wait behind."""

    async def zero(peer: Peer, request: Received) -> None:
        del request
        peer.send(b"HTTP/1.1 099 Odd\r\ncontent-length: 0\r\n\r\n")

    async with world(zero) as w:
        assert (await w.ask(CALL)).status in {99, 502}


@on_loop
async def test_request_that_comes_back_goes_round_no_more() -> None:
    """A backend that is this server, or leads to it, ends a request with an error instead of keeping it going round."""
    async with world() as w:
        w.registry.backends = {"self": f"http://127.0.0.1:{w.port}"}
        answer = await w.ask(CALL)
        assert answer.status == 508
        assert json.loads(answer.body or b"")["error"]["code"] == "loop_detected"
        assert len(w.registry.waits) == 1


@on_loop
async def test_request_of_another_gateway_is_passed_on() -> None:
    """What other servers have signed is answered, and this one's sign comes after theirs."""
    async with world() as w:
        assert (await w.ask(post(b'{"model":"m"}', "Via: 1.1 another"))).status == 200
        assert (await w.upstream.requests.get()).headers["via"] == "1.1 actor-registry"
