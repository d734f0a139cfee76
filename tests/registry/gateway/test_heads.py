"""Requests whose heads came before are understood without being parsed; nobody can tell."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from registry.gateway.http1 import heads
from registry.gateway.http1.heads import Heads
from registry.gateway.http1.limits import ServerLimits
from registry.gateway.http1.messages import Refusal, Request
from registry.gateway.http1.request_reader import RequestReader
from tests.registry.gateway.services.sent import register, request

LIMITS = ServerLimits(max_body_bytes=100)

HEARTBEAT = request("POST", "/services/a/heartbeat")

FOUR = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n"
CHUNKED = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"

WITH_BODIES = (
    [FOUR + b"\r\n", b"body"],
    [HEARTBEAT[:20], HEARTBEAT[20:]],
    [FOUR + b"Expect: 100-continue\r\n\r\n", b"body"],
    [FOUR + b"Upgrade: h2c\r\nConnection: Upgrade\r\n\r\n", b"body"],
    [CHUNKED, b"4\r\nbody\r\n0\r\n\r\n", b"0\r\n\r\n"],
    [b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 101\r\n\r\n", b"body"],
)
"""Pieces that belong together."""

PIECES = (
    HEARTBEAT,
    b"GET /services HTTP/1.1\r\nHost: a\r\n\r\n",
    b"GET http://a/services?x=1 HTTP/1.1\r\nHOST: a\r\nAuthorization: Bearer x\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
    b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n",
    b"GET / HTTP/1.0\r\n\r\n",
    b"GET / HTTP/1.1\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: a\r\nUpgrade: h2c\r\nConnection: Upgrade\r\n\r\n",
    b"\r\n",
    b"no HTTP",
)

Understood = tuple[list[tuple[object, ...]], str, bool, bool, bool]


def understood(connection: list[bytes], known: Heads) -> Understood:
    """What a reader makes of the bytes of one connection, piece by piece."""
    delivered: list[Request] = []
    reader = RequestReader(LIMITS, delivered.append, known)
    refused = ""
    try:
        for piece in connection:
            reader.feed(piece)
    except Refusal as refusal:
        refused = f"{refusal.status} {refusal.reason} {refusal.path!r}"
    return [seen(one) for one in delivered], refused, reader.in_request, reader.wants_continue, reader.finished


def seen(one: Request) -> tuple[object, ...]:
    """All that can be read of a request."""
    first = {name: one.header(name) for name, _ in one.headers}
    return one.method, one.target, one.path, one.headers, first, one.body, one.http_1_0, one.keep_alive


def histories_of(few: list[bytes]) -> st.SearchStrategy[list[list[bytes]]]:
    """Connections on which nothing else comes, cut into pieces."""
    pieces = st.lists(st.sampled_from(few), min_size=1, max_size=2).map(b"".join)
    return st.lists(st.lists(pieces, min_size=1, max_size=3), min_size=2, max_size=4)


few = st.sampled_from(WITH_BODIES) | st.lists(st.sampled_from(PIECES), min_size=1, max_size=3)
histories = few.flatmap(histories_of)
"""Each of few pieces, so that they come again."""


def check(history: list[list[bytes]]) -> None:
    """Each connection is understood as if it were the first."""
    known = Heads()
    for connection in history:
        assert understood(connection, known) == understood(connection, Heads())


@settings(max_examples=1_000)
@given(histories)
def test_what_is_known_changes_nothing(history: list[list[bytes]]) -> None:
    """Whatever connections have sent before, each is understood as if it were the first."""
    check(history)


@pytest.mark.parametrize(
    "history",
    [
        [[HEARTBEAT], [request("POST", "/", HEARTBEAT)[: -len(HEARTBEAT)], HEARTBEAT]],
        [[HEARTBEAT[:20], HEARTBEAT[20:]], [HEARTBEAT[20:]]],
        [[FOUR + b"\r\nbody"], [FOUR + b"\r\n", b"body"], [FOUR + b"\r\nbodyGET "]],
    ],
    ids=["a body that is a known request", "the rest of a head", "a body that comes later, and one with more after it"],
)
def test_what_only_looks_known(history: list[list[bytes]]) -> None:
    """It is what it is where it stands."""
    check(history)


def test_what_comes_again_is_the_same_request() -> None:
    """A request without a body is the very object from its second coming on; what was noted of it is there."""
    delivered: list[Request] = []
    known = Heads()
    for _ in range(3):
        RequestReader(LIMITS, delivered.append, known).feed(HEARTBEAT)
        delivered[-1].note = "noted"
    assert delivered[1] is delivered[2]
    assert delivered[2].note == "noted"


def test_bodies_share_what_was_noted_of_their_head() -> None:
    """A request with another body under the same head is another one, with the same note."""
    delivered: list[Request] = []
    reader = RequestReader(ServerLimits(), delivered.append)
    for name in "abc":
        reader.feed(register(name=name))
    delivered[1].note = "noted"
    assert [one.body for one in delivered] == [register(name=name).partition(b"\r\n\r\n")[2] for name in "abc"]
    assert [one.note for one in delivered] == [None, "noted", "noted"]


def test_only_so_much_is_kept() -> None:
    """Neither long heads nor many of them fill the memory, and no body is kept."""
    known = Heads()
    reader = RequestReader(ServerLimits(), lambda _: None, known)
    reader.feed(request("GET", "/", b"", "X: " + "x" * heads.LONGEST_BYTES))
    assert not known._known
    for number in range(heads.MOST + 10):
        reader.feed(request("POST", f"/{number}", b"body"))
    assert len(known._known) == 10
    assert {(kept.request.body, kept.body_bytes) for kept in known._known.values()} == {(b"", 4)}
