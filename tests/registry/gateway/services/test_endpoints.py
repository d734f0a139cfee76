"""The nine endpoints of the service registry, through a gateway over a registry in memory."""

from __future__ import annotations

import json
import re

import pytest

from registry.errors import CallTimeout
from registry.gateway.services.endpoints import MAX_CHECKS
from tests.loops import on_loop
from tests.registry.gateway.services.sent import REGISTRATION, register, request
from tests.registry.gateway.stand_ins import World, get, turns_until, world

TIME = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?\+00:00"
NUMBER = r"\d+\.\d+"
RECORD = (
    r'\{"name":"[ab]","host":"10\.0\.0\.1","port":8000,"hostname":"node-1","url":"http://10\.0\.0\.1:8000",'
    rf'"status":"running","timestamp":"{TIME}","last_heartbeat":{NUMBER},"health_status":"unknown",'
    r'"metadata":\{\},"is_healthy":true\}'
)


async def registered(w: World) -> None:
    """One service."""
    assert (await w.ask(register())).status == 201


HEALTH = rf'"health_status":"unhealthy","is_healthy":true,"last_heartbeat":{NUMBER},"timestamp":"{TIME}"'
COUNTS = r'"registered_services":1,"healthy_services":1'
STATS = (
    r'"total_services":1,"healthy_services":1,"unhealthy_services":0,"status_distribution":\{"running":1\},'
    r'"host_distribution":\{"10\.0\.0\.1":1\},"uptime":1\.5'
)
ANSWERS = {
    register(name="b"): (201, rf"""\{{"message":"Service 'b' registered successfully","service":{RECORD}\}}"""),
    get("/services"): (200, rf'\{{"services":\[{RECORD}\],"total":1,"timestamp":"{TIME}"\}}'),
    get("/services/a"): (200, RECORD),
    request("PUT", "/services/a", b"{}"): (
        200,
        rf"""\{{"message":"Service 'a' updated successfully","service":{RECORD}\}}""",
    ),
    request("DELETE", "/services/a"): (200, r"""\{"message":"Service 'a' unregistered successfully"\}"""),
    request("POST", "/services/a/heartbeat"): (200, rf'\{{"message":"Heartbeat received","timestamp":"{TIME}"\}}'),
    get("/services/a/health"): (200, rf'\{{"service":"a",{HEALTH}\}}'),
    get("/health"): (200, rf'\{{"status":"healthy","registry":"running",{COUNTS},"timestamp":"{TIME}"\}}'),
    get("/stats"): (200, rf'\{{{STATS},"timestamp":"{TIME}"\}}'),
}


@pytest.mark.parametrize("sent", ANSWERS)
@on_loop
async def test_answers_to_the_letter(sent: bytes) -> None:
    """Each answer is compact JSON with its fields in the order that clients know."""
    status, pattern = ANSWERS[sent]
    async with world() as w:
        await registered(w)
        answer = await w.ask(sent)
        assert (answer.status, answer.headers["content-type"]) == (status, "application/json")
        assert re.fullmatch(pattern, answer.received.decode()), answer.received
        assert w.registry.errors == []


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE", "HEAD"])
@pytest.mark.parametrize("tail", ["", "/health", "/heartbeat"])
@on_loop
async def test_unknown_name(method: str, tail: str) -> None:
    """Whatever is asked of a service that is not there is answered with 404, also when the body is wrong as well."""
    method = {"": method, "/health": "GET", "/heartbeat": "POST"}[tail]
    async with world() as w:
        answer = await w.ask(request(method, f"/services/n%C3%B6%2Fpe{tail}", b"{bad"))
        assert answer.status == 404
        assert method == "HEAD" or answer.received.decode() == """{"error":"Service 'nö/pe' not found"}"""
        assert w.registry.errors == [404]


@pytest.mark.parametrize(
    ("sent_as", "name"),
    [
        ("a%2Fb", "a/b"),
        ("%E6%9C%8D%E5%8A%A1", "服务"),
        ("a+b", "a+b"),
        ("%zz", "%zz"),
        ("%00", "\0"),
        ("..", ".."),
        ("health", "health"),
        ("x" * 1024, "x" * 1024),
    ],
)
@on_loop
async def test_any_name(sent_as: str, name: str) -> None:
    """A name may hold anything, percent-encoded; a slash in it is part of it."""
    path = f"/services/{sent_as}"
    async with world() as w:
        assert (await w.ask(register(name=name))).status == 201
        assert (await w.ask(get(path))).json()["name"] == name
        assert (await w.ask(request("POST", f"{path}/heartbeat"))).status == 200
        assert (await w.ask(request("DELETE", path))).status == 200
        assert w.registry.known == {}


@pytest.mark.parametrize(
    ("target", "status"),
    [
        ("/services/%FF", 400),
        ("/services/%C3", 400),
        ("/services/" + "x" * 1025, 404),
        ("/services/", 404),
        ("/services//health", 404),
        ("/services/a/", 404),
        ("/services/a/b", 404),
        ("/services/a/health/", 404),
        ("/services/a/health/x", 404),
        ("/services?status=%FF", 400),
        ("/services?" + "&" * 100, 400),
    ],
)
@on_loop
async def test_targets_that_are_not_there(target: str, status: int) -> None:
    """Paths that lead nowhere and bytes that are no text are refused with a reason."""
    async with world() as w:
        await registered(w)
        answer = await w.ask(get(target))
        assert answer.status == status
        assert list(answer.json()) == ["error"]
        assert answer.json()["error"]


@pytest.mark.parametrize(
    ("path", "allowed"),
    [
        ("/services", "GET,HEAD,POST"),
        ("/services/a", "DELETE,GET,HEAD,PUT"),
        ("/services/a/health", "GET,HEAD"),
        ("/services/a/heartbeat", "POST"),
        ("/health", "GET,HEAD"),
        ("/stats", "GET,HEAD"),
    ],
)
@on_loop
async def test_methods(path: str, allowed: str) -> None:
    """What a path does not know is 405 with the methods that it does know."""
    async with world(admin_key="k") as w:
        w.registry.beat("a")
        for method in {"GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS"} - set(allowed.split(",")):
            answer = await w.ask(request(method, path))
            assert (answer.status, answer.headers["allow"]) == (405, allowed)
            assert method == "HEAD" or answer.json()["error"] == f"{method} is not allowed for {path}."


@pytest.mark.parametrize("path", ["/services", "/services/a", "/services/a/health", "/health", "/stats"])
@on_loop
async def test_head(path: str) -> None:
    """HEAD is answered like GET, without the body."""
    async with world() as w:
        await registered(w)
        peer = await w.connect()
        answer = await w.ask_on(peer, get(path, method="HEAD"))
        assert answer.status == 200
        assert int(answer.headers["content-length"]) > 0
        assert (await w.ask_on(peer, get(path))).status == 200


@on_loop
async def test_health_of_a_service() -> None:
    """Asking for its health probes a service; one that answers is alive, one that does not is unhealthy with 200."""
    async with world() as w:
        await registered(w)
        w.registry.beat("a", age_s=200)
        dead = await w.ask(get("/services/a/health"))
        assert (dead.status, dead.json()["health_status"], dead.json()["is_healthy"]) == (200, "unhealthy", False)
        w.registry.answering.add("a")
        alive = (await w.ask(get("/services/a/health"))).json()
        assert (alive["health_status"], alive["is_healthy"]) == ("healthy", True)


@on_loop
async def test_health_that_nobody_finds_out() -> None:
    """Without a health checker it is 503 with the reason, and when to ask again."""
    async with world() as w:
        w.registry.services_failure = CallTimeout("no answer")
        answer = await w.ask(get("/services/a/health"))
        assert (answer.status, answer.headers["retry-after"]) == (503, "1")
        assert answer.json() == {"error": "No health checker has probed 'a' in time."}


@on_loop
async def test_probes_that_hang_take_not_all_room() -> None:
    """So many clients may wait for probes; one more is told to come back, and nobody else is affected."""
    async with world() as w:
        await registered(w)
        w.registry.probe_allowed.clear()
        waiting = [await w.connect() for _ in range(MAX_CHECKS)]
        for peer in waiting:
            peer.send(get("/services/a/health"))
        await turns_until(lambda: [call for call, _ in w.registry.calls].count("check") == MAX_CHECKS)
        refused = await w.ask(get("/services/a/health"))
        assert (refused.status, refused.headers["retry-after"]) == (503, "1")
        assert (await w.ask(request("POST", "/services/a/heartbeat"))).status == 200
        waiting[0].cut()
        w.registry.probe_allowed.set()
        assert [(await peer.read_answer()).status for peer in waiting[1:]] == [200] * (MAX_CHECKS - 1)
        assert (await w.ask(get("/services/a/health"))).status == 200


@on_loop
async def test_body_may_come_byte_by_byte() -> None:
    """However a registration is cut into pieces, it is the same registration."""
    async with world() as w:
        peer = await w.connect()
        for byte in register():
            peer.send(bytes([byte]))
            await peer.writer.drain()
        assert (await peer.read_answer()).json()["service"]["url"] == REGISTRATION["url"]


@on_loop
async def test_content_type_says_nothing() -> None:
    """A body is JSON, whatever its sender calls it."""
    async with world() as w:
        for media_type in ("text/plain", "application/x-www-form-urlencoded", "application/json; charset=utf-16"):
            assert (await w.ask(register(f"Content-Type: {media_type}"))).status == 201


@on_loop
async def test_answers_are_utf_8() -> None:
    """What is no ASCII stands in answers as it is."""
    async with world() as w:
        answer = await w.ask(register(name="名", metadata={"ключ": "значение \u2028 \x7f"}))
        assert '"name":"名"'.encode() in answer.received
        assert '"ключ":"значение'.encode() in answer.received
        assert json.loads(answer.received)["service"]["metadata"] == {"ключ": "значение \u2028 \x7f"}
