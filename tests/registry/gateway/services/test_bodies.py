"""Bodies of requests: what is taken, what is refused in which words, and what is ignored."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import quote

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from registry.state.service_records import MAX_SERVICE_BYTES
from tests.loops import on_loop
from tests.registry.gateway.services.sent import REGISTRATION, register, request
from tests.registry.gateway.stand_ins import get, world

FIELDS = ["name", "host", "port", "hostname", "url", "status"]
TEXT = "must be a string of at most 4,096 characters."
NAME = "name must be a string of 1 to 1,024 characters."
PORT = "port must be an integer from 1 to 65,535."
NO_OBJECT = "The body must be a JSON object."
INVALID = "Invalid JSON"

BROKEN = {
    b"": INVALID,
    b"{bad json": INVALID,
    b"{} {}": INVALID,
    b"nan": INVALID,
    b'{"port":NaN}': INVALID,
    b'{"port":Infinity}': INVALID,
    b'{"host":"\xff"}': INVALID,
    b'{"host":"\\ud800"}': INVALID,
    b"\xef\xbb\xbf{}": INVALID,
    '{"name":"a"}'.encode("utf-16"): INVALID,
    b"'a'": INVALID,
    b"null": NO_OBJECT,
    b"5": NO_OBJECT,
    b"1.5": NO_OBJECT,
    b"true": NO_OBJECT,
    b'{"x":1e999}': "A number in the body is out of range.",
    b'{"x":-1e999}': "A number in the body is out of range.",
    b"[" * 200_000: "The body is nested too deeply.",
}


def one(**changes: Any) -> bytes:
    """A registration with one thing changed; Ellipsis leaves a field out."""
    return json.dumps(
        {field: value for field, value in {**REGISTRATION, **changes}.items() if value is not ...}
    ).encode()


NO_NAMES: list[Any] = ["", None, 5, ["a"], "x" * 1025]
NO_PORTS: list[Any] = [0, -1, 65_536, 10**30, 5.0, 1e3, True, "8000", None, [8000]]
NO_OBJECTS: list[Any] = [[], "a", 1, False, [["a", 1]]]
NO_TEXTS: list[Any] = [None, 1, True, {}, ["a"], "x" * 4097]

WRONG_REGISTRATIONS: dict[bytes, str] = {
    **BROKEN,
    b"{}": "Missing required field: name",
    b"[]": "Missing required field: name",
    b'""': "Missing required field: name",
    b'"name host port"': "Missing required field: hostname",
    b'["name","host"]': "Missing required field: port",
    json.dumps(FIELDS).encode(): NO_OBJECT,
    json.dumps(" ".join(FIELDS)).encode(): NO_OBJECT,
    **{one(**{field: ...}): f"Missing required field: {field}" for field in FIELDS},
    one(host=..., status=..., port="x"): "Missing required field: host",
    **{one(name=value): NAME for value in NO_NAMES},
    **{one(port=value): PORT for value in NO_PORTS},
    **{
        one(**{field: value}): f"{field} {TEXT}"
        for field in ("host", "hostname", "url", "status")
        for value in NO_TEXTS
    },
    **{one(metadata=value): "metadata must be an object or null." for value in NO_OBJECTS},
    **{one(timestamp=value): f"timestamp {TEXT[:-1]}, or null." for value in NO_TEXTS[1:]},
}

WRONG_UPDATES = {
    **BROKEN,
    b'["host"]': NO_OBJECT,
    b'"my status"': NO_OBJECT,
    b'{"metadata":null}': "metadata must be an object.",
    b'{"metadata":[]}': "metadata must be an object.",
    b'{"port":"1"}': PORT,
    b'{"port":65536,"host":1}': f"host {TEXT}",
    b'{"host":null}': f"host {TEXT}",
    b'{"status":5}': f"status {TEXT}",
    json.dumps({"url": "x" * 4097}).encode(): f"url {TEXT}",
}


@pytest.mark.parametrize("body", WRONG_REGISTRATIONS, ids=lambda body: repr(body[:40]))
@on_loop
async def test_wrong_registrations(body: bytes) -> None:
    """Each is a 400 that says what is wrong and what would be right, and changes nothing."""
    async with world() as w:
        answer = await w.ask(request("POST", "/services", body))
        assert (answer.status, answer.json()) == (400, {"error": WRONG_REGISTRATIONS[body]})
        assert w.registry.calls == []


@pytest.mark.parametrize("body", WRONG_UPDATES, ids=lambda body: repr(body[:40]))
@on_loop
async def test_wrong_updates(body: bytes) -> None:
    """Each is a 400 that says what is wrong and what would be right, and is no heartbeat."""
    async with world() as w:
        await w.ask(register())
        w.registry.calls.clear()
        answer = await w.ask(request("PUT", "/services/a", body))
        assert (answer.status, answer.json()) == (400, {"error": WRONG_UPDATES[body]})
        assert w.registry.changes() == []


@pytest.mark.parametrize(
    ("changes", "kept"),
    [
        ({"port": 1}, {}),
        ({"port": 65_535}, {}),
        ({"name": "x" * 1024, "host": "", "hostname": "", "url": "", "status": ""}, {}),
        ({"host": "ü" * 4096}, {}),
        ({"metadata": None}, {"metadata": {}}),
        ({"metadata": {"a": [1, -1.5, None, True, {"b": ""}], "": 2**64 - 1}}, {}),
        ({"timestamp": "long ago"}, {}),
        ({"weight": 3, "is_healthy": False, "health_status": "x", "last_heartbeat": "y"}, {}),
    ],
)
@on_loop
async def test_registrations_to_the_limit(changes: dict[str, Any], kept: dict[str, Any]) -> None:
    """What is within the limits is taken as it is; unknown fields are ignored."""
    async with world() as w:
        service = (await w.ask(register(**changes))).json()["service"]
        own = {field: value for field, value in changes.items() if field in {*FIELDS, "metadata", "timestamp"}}
        assert service.items() >= {**own, **kept}.items()
        assert (service["health_status"], len(service)) == ("unknown", 11)


@pytest.mark.parametrize(
    "body",
    [b"{}", b"[]", b'[{"host":"x"}]', b'""', b'"running"', b'{"name":"b","timestamp":"x","last_heartbeat":1,"z":[]}'],
)
@on_loop
async def test_updates_of_nothing(body: bytes) -> None:
    """A change of nothing is a heartbeat."""
    async with world() as w:
        before = (await w.ask(register())).json()["service"]
        w.registry.beat("a", age_s=200)
        after = (await w.ask(request("PUT", "/services/a", body))).json()["service"]
        assert after.pop("last_heartbeat") >= before.pop("last_heartbeat")
        assert after == before


@on_loop
async def test_update() -> None:
    """What is given is changed, and metadata is replaced as a whole."""
    async with world() as w:
        await w.ask(register(metadata={"old": 1}))
        changes = {"host": "h", "port": 1, "hostname": "n", "url": "u", "status": "draining", "metadata": {"new": 2}}
        for field, value in changes.items():
            answer = await w.ask(request("PUT", "/services/a", json.dumps({field: value, "name": "b"}).encode()))
            assert answer.json()["service"][field] == value
        assert (await w.ask(get("/services/a"))).json().items() >= {"name": "a", "is_healthy": False, **changes}.items()


@pytest.mark.parametrize(
    "body", [b"", b"{}", b"{bad", b"null", b'"status"', b'["status"]', b"\xff", b"[" * 200_000, b"1e999"]
)
@on_loop
async def test_heartbeats_that_say_nothing(body: bytes) -> None:
    """A heartbeat needs no body, and one that cannot be read does not matter."""
    async with world() as w:
        await w.ask(register())
        assert (await w.ask(request("POST", "/services/a/heartbeat", body))).status == 200
        assert w.registry.calls[-1] == ("heartbeat", {"name": "a", "status": None})


@pytest.mark.parametrize("value", [None, 5, True, {}, [], "x" * 4097])
@on_loop
async def test_status_of_a_heartbeat(value: object) -> None:
    """A heartbeat may bring a status, which must be a string."""
    async with world() as w:
        await w.ask(register())
        await w.ask(request("POST", "/services/a/heartbeat", b'{"status":"draining"}'))
        assert w.registry.known["a"].status == "draining"
        refused = await w.ask(request("POST", "/services/a/heartbeat", json.dumps({"status": value}).encode()))
        assert (refused.status, refused.json()) == (400, {"error": f"status {TEXT}"})
        assert w.registry.known["a"].status == "draining"


@pytest.mark.parametrize(
    ("method", "path"), [("POST", "/services"), ("PUT", "/services/a"), ("POST", "/services/a/heartbeat")]
)
@on_loop
async def test_bodies_that_are_too_long(method: str, path: str) -> None:
    """One megabyte is read and not a byte more, and the connection goes on."""
    async with world() as w:
        await w.ask(register())
        longest = one(metadata={"pad": "x" * (MAX_SERVICE_BYTES - len(one(metadata={"pad": ""})))})
        peer = await w.connect()
        assert (await w.ask_on(peer, request(method, path, longest))).status in {200, 201}
        done = len(w.registry.changes())
        answer = await w.ask_on(peer, request(method, path, longest + b" "))
        assert (answer.status, answer.json()) == (413, {"error": "The request body is longer than 1,048,576 bytes."})
        assert len(w.registry.changes()) == done


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=10,
)
BODIES = st.binary(max_size=200) | JSON_VALUES.map(lambda value: json.dumps(value).encode())
MIXED = st.dictionaries(st.sampled_from([*FIELDS, "metadata", "timestamp"]), JSON_VALUES).map(
    lambda changes: json.dumps({**REGISTRATION, **changes}).encode()
)


@settings(max_examples=300, deadline=None, suppress_health_check=list(HealthCheck))
@given(body=BODIES | MIXED)
def test_any_body(body: bytes) -> None:
    """No body breaks anything: each is taken as a whole or refused with a reason and has changed nothing."""

    @on_loop
    async def ask() -> None:
        async with world() as w:
            await w.ask(register(name="\n"))
            w.registry.calls.clear()
            for method, path in (("POST", "/services"), ("PUT", "/services/%0A"), ("POST", "/services/%0A/heartbeat")):
                before = len(w.registry.changes())
                answer = await w.ask(request(method, path, body))
                assert answer.status in {200, 201, 400}
                assert len(w.registry.changes()) - before == (answer.status != 400)
                assert answer.status != 400 or answer.json()["error"]

    ask()


@settings(max_examples=300, deadline=None, suppress_health_check=list(HealthCheck))
@given(path=st.binary(max_size=50), method=st.sampled_from(["GET", "PUT", "DELETE", "POST", "PATCH"]))
def test_any_path(path: bytes, method: str) -> None:
    """No path breaks anything, raw or percent-encoded; what is no name of a service changes nothing."""

    @on_loop
    async def ask() -> None:
        async with world() as w:
            for target in (path.decode("latin-1"), quote(path), quote(path).replace("%2F", "/")):
                answer = await w.ask(request(method, f"/services/{target}"))
                assert 400 <= answer.status < 500
            assert w.registry.known == {}

    ask()
