"""Asking servers for their models: a small real HTTP server stands in for them, at the other end of a real socket."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import httpx2
import pytest

from registry.discovery import models_endpoint
from registry.discovery.models_endpoint import MAX_BYTES, BackendDown, ask_models
from registry.discovery.static import http_client
from registry.models import Model
from tests.registry.discovery.stand_in import answer, listing, model_server

SECRET = "sk-do-not-show"


def asked(reply: bytes | None, *, api_key: str | None = None, timeout_s: float = 5.0) -> tuple[list[Model], list[str]]:
    """The models that a server is said to have, and the requests it got."""

    async def ask() -> tuple[list[Model], list[str]]:
        async with model_server(reply) as server, http_client() as client:
            client.timeout = httpx2.Timeout(timeout_s)
            return await ask_models(client, server.url, api_key), server.requests

    return asyncio.run(ask())


def refusal(reply: bytes | None, **options: Any) -> BackendDown:
    """Why a server is said to be down."""
    with pytest.raises(BackendDown) as down:
        asked(reply, **options)
    assert not down.value.certain
    return down.value


def test_models_are_named_in_order() -> None:
    """The models of a server come in its order, each once, with the defaults for what it does not say."""
    models, requests = asked(listing("m", "n", "m"))
    assert models == [Model(id="m"), Model(id="n")]
    (request,) = requests
    assert request.startswith("GET /v1/models HTTP/1.1\r\n")
    assert "authorization" not in request.lower()


def test_api_key_is_sent() -> None:
    """A server with a key gets it as a bearer token."""
    _, (request,) = asked(listing("m"), api_key=SECRET)
    assert f"authorization: bearer {SECRET}" in request.lower()


@pytest.mark.parametrize(
    ("entry", "length"),
    [
        ({"id": "m", "max_model_len": 32_768}, 32_768),
        ({"id": "m", "meta": {"n_ctx_train": 8_192}}, 8_192),
        ({"id": "m", "max_model_len": 7, "meta": {"n_ctx_train": 8_192}}, 7),
        ({"id": "m", "max_model_len": None, "meta": None}, 4_096),
        ({"id": "m", "max_model_len": 0}, 4_096),
        ({"id": "m", "max_model_len": -5}, 4_096),
        ({"id": "m", "max_model_len": 2**40}, 4_096),
        ({"id": "m", "meta": {"n_ctx_train": "long"}}, 4_096),
        ({"id": "m", "object": "model", "owned_by": "me", "surplus": [1]}, 4_096),
    ],
)
def test_context_length(entry: dict[str, Any], length: int) -> None:
    """What servers say of the context length is used where it makes sense, and the rest is no harm."""
    models, _ = asked(answer(json.dumps({"data": [entry]}).encode()))
    assert models == [Model(id="m", context_length=length)]


def test_server_without_models() -> None:
    """A server that has no models is not down."""
    assert asked(listing())[0] == []


@pytest.mark.parametrize("status", ["500 Internal Server Error", "404 Not Found", "401 Unauthorized", "204 No Content"])
def test_other_status(status: str) -> None:
    """An answer with another status is told with its number."""
    assert str(refusal(answer(b"", status))) == f"GET /v1/models answered {status[:3]}"


def test_redirect_is_not_followed() -> None:
    """A server cannot send the question, with its key, somewhere else."""
    moved = answer(b"", "302 Found", "location: http://127.0.0.1:9/v1/models")
    assert str(refusal(moved, api_key=SECRET)) == "GET /v1/models answered 302"


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<html>hello</html>",
        b"{}",
        b"[]",
        b"null",
        b'{"data": {}}',
        b'{"data": [{}]}',
        b'{"data": [{"id": 7}]}',
        b'{"data": [{"id": ""}]}',
        b'{"data": [{"id": "m"}',
        b'{"data": [{"id": "\xff"}]}',
        b"\x00" * 100,
        b"[" * 100_000,
        b'{"data": [], "surplus": ' + b"[" * 100_000,
    ],
)
def test_garbage(body: bytes) -> None:
    """An answer of another shape is told in one line."""
    said = str(refusal(answer(body)))
    assert said.startswith("GET /v1/models answered something else: ")
    assert "\n" not in said
    assert len(said) < 500


def test_something_that_does_not_speak_http() -> None:
    """A server of another kind is told as such."""
    assert str(refusal(b"SSH-2.0-OpenSSH_9.9\r\n\r\n"))


def test_answer_that_breaks_off() -> None:
    """A body that is shorter than announced is not taken for the whole."""
    assert str(refusal(answer(b'{"data": [{"id": "m"}]}').replace(b"content-length: 23", b"content-length: 99")))


def test_answer_that_is_too_big() -> None:
    """An endless answer is not read to its end."""
    assert f"more than {MAX_BYTES:,} bytes" in str(refusal(answer(b" " * (MAX_BYTES + 1))))


def test_many_models_are_no_harm() -> None:
    """A big answer within the limit is read whole."""
    assert len(asked(listing(*(f"model-{number}" for number in range(10_000))))[0]) == 10_000


def test_slow_server() -> None:
    """A server that accepts and says nothing is given up, without certainty that it is gone."""
    assert "no answer within" in str(refusal(None, timeout_s=0.1))


def test_nobody_listens() -> None:
    """A refused connection is certain."""

    async def ask() -> None:
        async with model_server(None) as server:
            url = server.url
        async with http_client() as client:
            await ask_models(client, url, None)

    with pytest.raises(BackendDown, match="no connection") as down:
        asyncio.run(ask())
    assert down.value.certain


def test_proxies_of_the_environment_are_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    """A key for a server on this machine does not go through a proxy that happens to be set."""
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("ALL_PROXY", "http://127.0.0.1:9")
    assert asked(listing("m"))[0] == [Model(id="m")]


def test_the_whole_question_has_a_time_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    """However patient each read is, as with a server that sends a byte now and then, the question ends."""
    monkeypatch.setattr(models_endpoint, "TIMEOUT_S", 0.05)
    assert str(refusal(None, timeout_s=60.0)).startswith("no answer within")
