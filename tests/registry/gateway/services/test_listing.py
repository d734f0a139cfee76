"""The JSON of each service is kept until something of it changes."""

from __future__ import annotations

import asyncio
import time

import msgspec
import pytest

from registry.gateway.services import listing
from registry.gateway.services.listing import Listing
from registry.gateway.services.queries import Wanted
from registry.kinds import ServiceHealth
from registry.operations import Operations
from tests.registry.gateway.services.fake_services import HEARTBEAT_TIMEOUT_S, FakeServices
from tests.registry.gateway.services.sent import REGISTRATION

ALL = Wanted(None, None)


@pytest.fixture
def services() -> FakeServices:
    """Two services."""
    made = FakeServices()
    for name in ("a", "b"):
        asyncio.run(made.perform(Operations.register_service.call(**{**REGISTRATION, "name": name})))
    return made


def read(kept: Listing, services: FakeServices) -> list[bytes]:
    """All of them, as they are now."""
    asyncio.run(services.sync())
    return kept.read(ALL)


def test_what_has_not_changed_is_not_made_again(services: FakeServices) -> None:
    """A change of one service costs nothing for the others."""
    kept = Listing(services)
    before = read(kept, services)
    assert all(one is other for one, other in zip(read(kept, services), before, strict=True))
    services.beat("a")
    after = read(kept, services)
    assert after[0] != before[0]
    assert after[1] is before[1]


def test_finding_of_a_probe(services: FakeServices) -> None:
    """A service that has changed without a heartbeat is shown as it is."""
    kept = Listing(services)
    before = read(kept, services)
    services.known["b"] = msgspec.structs.replace(services.known["b"], health_status=ServiceHealth.UNHEALTHY)
    after = read(kept, services)
    assert after == [before[0], before[1].replace(b"unknown", b"unhealthy")]


def test_time_alone(services: FakeServices, monkeypatch: pytest.MonkeyPatch) -> None:
    """A service is healthy until its latest heartbeat is too old, and not a moment longer."""
    kept = Listing(services)
    before = read(kept, services)
    fresh_until_s = services.heard["a"].fresh_until_s
    services.heard["b"] = msgspec.structs.replace(services.heard["b"], fresh_until_s=fresh_until_s + 1)
    assert time.monotonic() < fresh_until_s <= time.monotonic() + HEARTBEAT_TIMEOUT_S
    monkeypatch.setattr(listing, "monotonic", lambda: fresh_until_s - 0.001)
    assert read(kept, services) == before
    monkeypatch.setattr(listing, "monotonic", lambda: fresh_until_s)
    assert read(kept, services) == [before[0].replace(b"true", b"false"), before[1]]
    assert [is_healthy for _, is_healthy in kept.states()] == [False, True]


def test_names_that_come_and_go(services: FakeServices) -> None:
    """Nothing is kept of services that are gone."""
    kept = Listing(services)
    for number in range(100):
        name = f"s{number}"
        asyncio.run(services.perform(Operations.register_service.call(**{**REGISTRATION, "name": name})))
        read(kept, services)
        asyncio.run(services.remove_service(name))
    assert len(read(kept, services)) == 2
    assert len(kept._rendered) == 2
