"""Who may not, what cannot be read, and a registry that does not answer."""

from __future__ import annotations

import pytest

from registry.errors import CallTimeout, OutcomeUnknown, StorageUnavailable
from registry.gateway.http1.limits import ServerLimits
from tests.loops import on_loop
from tests.registry.gateway.services.sent import register, request
from tests.registry.gateway.stand_ins import get, world


@pytest.mark.parametrize(
    ("failure", "said"),
    [
        (CallTimeout("late"), "The registry does not answer: late"),
        (StorageUnavailable("disk full"), "The registry does not answer: the change could not be stored: disk full"),
        (OutcomeUnknown("late"), "The change may have been made or not, look before you send it again: late"),
    ],
)
@pytest.mark.parametrize(
    "sent",
    [
        *(get("/services"), get("/services/a"), get("/stats"), get("/health")),
        *(register(), request("PUT", "/services/a", b"{}"), request("DELETE", "/services/a")),
        request("POST", "/services/a/heartbeat"),
    ],
)
@on_loop
async def test_registry_that_does_not_answer(sent: bytes, failure: Exception, said: str) -> None:
    """It may work later: 503 with a reason, and when to try again."""
    async with world() as w:
        w.registry.services_failure = failure
        answer = await w.ask(sent)
        assert (answer.status, answer.headers["retry-after"], answer.json()) == (503, "1", {"error": said})
        assert w.registry.errors == [503]


@pytest.mark.parametrize(
    ("fields", "status"),
    [
        ([], 401),
        (["Authorization: Bearer wrong"], 401),
        (["Authorization: Basic a2V5"], 401),
        (["Authorization: Bearer key"], 201),
        (["authorization: bearer key"], 201),
    ],
)
@on_loop
async def test_changes_need_the_key(fields: list[str], status: int) -> None:
    """With an admin key only its holder changes services; everybody may look."""
    async with world(admin_key="key") as w:
        answer = await w.ask(register(*fields))
        assert answer.status == status
        if status == 401:
            assert answer.headers["www-authenticate"].startswith('Bearer realm="actor-registry"')
            assert list(answer.json()) == ["error"]
        for sent in (request("PUT", "/services/a", b"{}"), request("POST", "/services/a/heartbeat"),
                     request("DELETE", "/services/b")):  # fmt: skip
            assert (await w.ask(sent)).status == 401
        assert (len(w.registry.changes()) == 1) is (status == 201)
        assert (await w.ask(get("/services"))).status == 200


@on_loop
async def test_open_services() -> None:
    """Services may be left open to all though other changes need the key."""
    async with world(admin_key="key", open_services=True) as w:
        assert (await w.ask(register())).status == 201
        assert (await w.ask(request("DELETE", "/services/a"))).status == 200


@on_loop
async def test_web_pages() -> None:
    """A foreign web page changes nothing, and one whose name was made to lead here reads nothing."""
    async with world() as w:
        for sent in (register("Origin: https://evil.example"), get("/services").replace(b"localhost", b"evil.example")):
            answer = await w.ask(sent)
            assert answer.status == 403
            assert "evil.example" in answer.json()["error"]
        assert w.registry.calls == []


HALF = register(metadata={"pad": "x" * 1000})[:-500]


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (HALF, 408),
        (request("POST", "/services/a/heartbeat", b"", "X: " + "y" * 70_000), 431),
        (b"POST /services HTTP/1.1\r\nHost: localhost\r\nContent-Length: 99999999\r\n\r\n", 413),
        (b"POST /services HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", 400),
        (b"POST /services HTTP/1.1\r\nHost: localhost\r\nContent-Length: -1\r\n\r\n", 400),
        (b"GET /health HTTP/1.1\r\n\r\n", 400),
    ],
)
@on_loop
async def test_requests_that_make_no_sense(sent: bytes, status: int) -> None:
    """What cannot be read is refused in the form of the service registry too, and changes nothing."""
    async with world(server=ServerLimits(request_timeout_s=0.05, min_body_bytes_per_s=1_000_000)) as w:
        answer = await w.ask(sent)
        assert answer.status == status
        assert [type(said) for said in answer.json().values()] == [str]
        assert w.registry.errors == [status]
        assert w.registry.calls == []


@on_loop
async def test_fault_of_ours() -> None:
    """An error that nobody expected is 500 without its text; the log has it."""
    async with world() as w:
        w.registry.services_failure = RuntimeError("secret")
        answer = await w.ask(get("/services"))
        assert (answer.status, answer.json()) == (500, {"error": "The gateway failed on this request."})
