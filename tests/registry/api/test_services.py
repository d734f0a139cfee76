"""The service registry with a real owner, through two gateways."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from registry.errors import InvalidField
from tests.registry.api.conftest import Served
from tests.registry.gateway.services.sent import REGISTRATION

ROUNDS = 100


def names(answer: Any) -> list[str]:
    """The names in a list, in order."""
    return [service["name"] for service in answer.json()["services"]]


def test_one_gateway_shows_what_the_other_has_answered(served: Served) -> None:
    """What was registered, changed, heard of or removed through one gateway is so at once in the other's answers."""
    for number in range(ROUNDS):
        one, other = (served.client, served.other) if number % 2 else (served.other, served.client)
        one.post("/services", json={**REGISTRATION, "name": "a/b", "port": 1 + number}).raise_for_status()
        listed = other.get("/services").json()["services"]
        assert [(service["port"], service["is_healthy"]) for service in listed] == [(1 + number, True)]
        assert other.get("/health").json()["healthy_services"] == 1
        one.post("/services/a%2Fb/heartbeat").raise_for_status()
        again = other.get("/services?healthy=true").json()["services"]
        assert again[0]["last_heartbeat"] > listed[0]["last_heartbeat"]
        one.put("/services/a%2Fb", json={"status": "draining"}).raise_for_status()
        assert names(other.get("/services?status=draining&healthy=false")) == ["a/b"]
        assert other.get("/services/a%2Fb").json()["status"] == "draining"
        one.delete("/services/a%2Fb").raise_for_status()
        assert names(other.get("/services")) == []
        assert other.get("/stats").json()["total_services"] == 0


def test_order_of_a_list(served: Served) -> None:
    """Services are listed in the order of their first registration, by every gateway."""
    for name in ("c", "a", "b", "c"):
        served.client.post("/services", json={**REGISTRATION, "name": name}).raise_for_status()
    assert [names(client.get("/services")) for client in (served.client, served.other)] == [["c", "a", "b"]] * 2


def test_probe_on_demand(served: Served) -> None:
    """A service that answers the probe somebody asks for is healthy and alive, for every gateway."""
    before = served.client.post("/services", json=REGISTRATION).json()["service"]
    checked = served.client.get("/services/a/health").json()
    assert checked["health_status"] == "healthy"
    assert checked["last_heartbeat"] > before["last_heartbeat"]
    assert served.other.get("/services").json()["services"][0]["health_status"] == "healthy"


@pytest.mark.parametrize(
    "metadata",
    [
        '{"a":18446744073709551616}',
        '{"a":-9223372036854775809}',
        *('{"a":' + "[" * depth + "]" * depth + "}" for depth in (100, 300, 900, 950, 980, 990, 1000)),
    ],
    ids=lambda metadata: metadata[:20] + str(len(metadata)),
)
def test_metadata_that_cannot_be_kept(served: Served, metadata: str) -> None:
    """Numbers beyond 64 bits and nesting without end are refused with a reason, and nothing is changed."""
    body = json.dumps({**REGISTRATION, "metadata": 0}).replace("0}", metadata + "}")
    answer = served.client.post("/services", content=body)
    assert answer.status_code == 400
    assert answer.json()["error"]
    assert names(served.client.get("/services")) == []


@pytest.mark.parametrize(
    ("depth", "reason"),
    # How deep a message may go is the interpreter's; between the two it depends on its version which of them answers.
    [(101, "has more than 100 lists and objects"), (100_000, "cannot be sent")],
)
def test_nesting_without_end(served: Served, depth: int, reason: str) -> None:
    """Neither does the Python interface take what nobody could surely read, or what no message can carry."""
    nested: dict[str, Any] = {}
    for _ in range(depth):
        nested = {"a": nested}
    with pytest.raises(InvalidField, match=f"metadata: {reason}"):
        served.registry.register_service(**REGISTRATION, metadata=nested)


def test_name_that_none_can_have(served: Served) -> None:
    """A name that is too long is that of no service."""
    assert served.client.get(f"/services/{'x' * 1025}").status_code == 404


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=10,
)
CHANGES = st.dictionaries(st.sampled_from([*REGISTRATION, "metadata", "timestamp"]), VALUES, max_size=3)


@settings(max_examples=200, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    content=st.binary(max_size=100)
    | CHANGES.map(lambda changes: json.dumps({**REGISTRATION, **changes}).encode())
    | st.dictionaries(st.text(), VALUES).map(
        lambda metadata: json.dumps({**REGISTRATION, "metadata": metadata}).encode()
    )
)
def test_any_registration(served: Served, content: bytes) -> None:
    """Whatever is sent is registered and shown by the other gateway as it was answered, or refused and not there."""
    known = names(served.client.get("/services"))
    answer = served.client.post("/services", content=content)
    listed = served.other.get("/services").json()["services"]
    if answer.status_code == 201:
        service = answer.json()["service"]
        assert service in listed
        served.client.delete(f"/services/{_quoted(service['name'])}").raise_for_status()
    else:
        assert answer.status_code == 400
        assert answer.json()["error"]
        assert [one["name"] for one in listed] == known


def _quoted(name: str) -> str:
    return "".join(f"%{byte:02X}" for byte in name.encode())
