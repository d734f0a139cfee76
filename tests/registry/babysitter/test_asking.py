"""What is made of an AI server's answers, also of strange ones."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import Callable

import pytest

from registry.babysitter.asking import MAX_BYTES, Answer, Asker, NotAnswering
from tests.registry.cli.commands import answering, closed_port

HEAD = "HTTP/1.1 {} X\r\nconnection: close\r\n"


def page(status: int, body: bytes = b"") -> bytes:
    """An answer."""
    return f"{HEAD.format(status)}content-length: {len(body)}\r\n\r\n".encode() + body


def pages(answers: dict[str, bytes], otherwise: bytes = page(404)) -> Callable[[socket.socket], None]:
    """A server with some pages."""

    def speak(client: socket.socket) -> None:
        asked = client.recv(65_536).split()[1].decode()
        client.sendall(answers.get(asked, otherwise))

    return speak


def ask(speak: Callable[[socket.socket], None], timeout_s: float = 5.0) -> Answer:
    """What is made of it."""

    async def asked(port: int) -> Answer:
        async with Asker(["127.0.0.1"], port, timeout_s) as asker:
            return await asker.ask()

    with answering(speak) as address:
        return asyncio.run(asked(int(address.rpartition(":")[2])))


def models(body: object) -> tuple[dict[str, object], ...] | None:
    """The models in a page that is answered with 200."""
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    return ask(pages({"/v1/models": page(200, content)})).models


def test_models() -> None:
    """The objects of a list are kept as they are, also of a bare list; what has no name is left out."""
    assert models({"data": [{"id": "a", "x": 1}, {"id": "a"}, {"id": ""}, {"id": 7}, 7, {}]}) == ({"id": "a", "x": 1},)
    assert models([{"id": "a"}]) == ({"id": "a"},)
    assert models({"data": []}) == ()


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<h1>welcome</h1>",
        b'{"data": 7}',
        b"7",
        b"\xff",
        b'{"data": [NaN]}',
        b"[" * 200_000,
        b" " * (MAX_BYTES + 1),
    ],
)
def test_pages_that_are_no_models(body: bytes) -> None:
    """A server that answers so is there, but says no models."""
    assert models(body) is None


@pytest.mark.parametrize("status", [401, 403, 404, 405])
def test_server_that_says_no_models(status: int) -> None:
    """It is ready all the same."""
    assert ask(pages({}, page(status))) == Answer(None)


def test_the_other_page_of_models() -> None:
    """One of the two is enough, even if the other fails."""
    for first in (404, 500):
        both = {"/v1/models": page(first), "/models": page(200, b'{"data": [{"id": "a"}]}')}
        assert ask(pages(both)).models == ({"id": "a"},)


@pytest.mark.parametrize(
    ("speak", "why"),
    [
        (pages({}, page(503)), "it says that it is not ready (GET /health answered 503)"),
        (pages({"/v1/models": page(503)}), "GET /v1/models answered 503"),
        (pages({"/models": page(302)}), "GET /models answered 302"),
        (pages({}, b"SSH-2.0-x\r\n"), "it does not speak HTTP as it should (RemoteProtocolError)"),
        (pages({}, b""), "it does not speak HTTP as it should (RemoteProtocolError)"),
        (pages({}, page(200, b"x")[:-1]), "it does not speak HTTP as it should (RemoteProtocolError)"),
    ],
)
def test_server_that_is_not_ready(speak: Callable[[socket.socket], None], why: str) -> None:
    """The reason is told."""
    with pytest.raises(NotAnswering) as caught:
        ask(speak)
    assert str(caught.value) == why
    assert not caught.value.nobody


def test_server_that_is_slow() -> None:
    """It is given up after the time, also if it sends a byte now and then."""

    def drip(client: socket.socket) -> None:
        client.recv(65_536)
        client.settimeout(0.01)
        client.sendall(b"HTTP/1.1 200 OK\r\nx: ")
        while True:
            client.sendall(b"H")
            try:
                if not client.recv(1):
                    return
            except TimeoutError:
                continue

    with pytest.raises(NotAnswering, match=r"^it does not answer within 0\.2 s$"):
        ask(drip, 0.2)


def test_nobody_there() -> None:
    """That is told apart; of several hosts the one that answers is taken."""

    async def asked(hosts: list[str], port: int) -> Answer:
        async with Asker(hosts, port) as asker:
            return await asker.ask()

    with pytest.raises(NotAnswering, match="nobody answers at its port") as caught:
        asyncio.run(asked(["127.0.0.1", "127.0.0.2"], closed_port()))
    assert caught.value.nobody
    with answering(pages({})) as address:
        assert asyncio.run(asked(["127.0.0.2", "127.0.0.1"], int(address.rpartition(":")[2]))) == Answer(None)
