"""What the clients, routers and babysitters of InfiniLM-SVC send as they send it, and what they count on in answers."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.loops import on_loop
from tests.registry.gateway.services.sent import REGISTRATION, register, request
from tests.registry.gateway.stand_ins import get, world

BEAT = b"POST /services/a/heartbeat HTTP/1.1\r\nHost: localhost\r\n"
ANY = b"Accept: */*\r\nAccept-Encoding: gzip, deflate\r\n"
BEATS = {
    "requests": BEAT + ANY + b"Connection: keep-alive\r\nContent-Length: 0\r\n\r\n",
    "aiohttp": BEAT + ANY + b"Content-Length: 0\r\nContent-Type: application/octet-stream\r\n\r\n",
    "reqwest": BEAT + b"accept: */*\r\ncontent-length: 0\r\n\r\n",
    "curl -X POST": BEAT + b"Accept: */*\r\n\r\n",
    "in chunks": BEAT + b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
}
FIELDS: dict[str, type[object]] = {
    "name": str,
    "host": str,
    "port": int,
    "hostname": str,
    "url": str,
    "status": str,
    "timestamp": str,
    "last_heartbeat": float,
    "health_status": str,
    "metadata": dict,
    "is_healthy": bool,
}
REGISTERED: dict[str, dict[str, Any]] = {
    "least": {},
    "of null": {"metadata": None, "timestamp": None},
    "with more than is known": {"weight": 3, "is_healthy": "no", "last_heartbeat": None, "health_status": 1},
    "of a babysitter": {"metadata": {"type": "openai-api", "models": ["m"], "models_list": [{"id": "m"}]}},
}


@pytest.mark.parametrize("client", BEATS)
@on_loop
async def test_heartbeat_without_a_body(client: str) -> None:
    """It is 200 however a client says that there is no body, and the connection stays open for the next one."""
    async with world() as w:
        await w.ask(register())
        peer = await w.connect()
        for _ in range(2):
            answer = await w.ask_on(peer, BEATS[client])
            assert (answer.status, answer.json()["message"]) == (200, "Heartbeat received")
        assert w.registry.calls[-2:] == [("heartbeat", {"name": "a", "status": None})] * 2


@pytest.mark.parametrize("registered", REGISTERED)
@on_loop
async def test_every_item_has_all_fields(registered: str) -> None:
    """Each service in each list has all eleven fields, with the types that a strict router reads.

    The Rust router of InfiniLM-SVC gives up a whole list for one null, and for one port that is no number.
    """
    async with world() as w:
        assert (await w.ask(register(**REGISTERED[registered]))).status == 201
        for change in (b"{}", b'{"port":65535,"weight":2}', b'{"metadata":{}}'):
            assert (await w.ask(request("PUT", "/services/a", change))).status == 200
            for path in ("/services", "/services?healthy=true"):
                answer = await w.ask(get(path))
                (item,) = answer.json()["services"]
                assert {field: type(value) for field, value in item.items()} == FIELDS
                assert answer.json()["total"] == 1
        assert w.registry.errors == []


@on_loop
async def test_one_session() -> None:
    """A client does all it ever does on one connection, also after the 404 of a service that is gone."""
    body = json.dumps(REGISTRATION).encode()
    calls = [
        (get("/health"), 200),
        (request("POST", "/services", body, "Content-Type: application/json"), 201),
        (request("POST", "/services/a/heartbeat"), 200),
        (request("POST", "/services/nobody/heartbeat"), 404),
        (get("/services/a/health"), 200),
        (get("/services?healthy=true"), 200),
        (request("DELETE", "/services/a"), 200),
        (request("DELETE", "/services/a"), 404),
        (request("POST", "/services", body, "Content-Type: application/json"), 201),
    ]
    async with world() as w:
        peer = await w.connect()
        assert [(await w.ask_on(peer, call)).status for call, _ in calls] == [status for _, status in calls]
