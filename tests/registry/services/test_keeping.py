from __future__ import annotations

import asyncio
import gc
import logging
import math
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest

from registry.services import (
    AsyncKept,
    AsyncServiceClient,
    InvalidField,
    KeepState,
    Kept,
    RegistryRefused,
    RegistryUnreachable,
    ServiceClient,
    ServicesError,
)
from tests.forking import in_fork
from tests.polling import until
from tests.registry.services.stand_in import Asked, StandIn, serving

BEAT_S = 0.02


class Registry:
    """A registry that can be away, and comes back at the same address."""

    def __init__(self, stand_in: StandIn) -> None:
        self.stand_in = stand_in
        self._served = ExitStack()
        self._port = 0

    def start(self) -> str:
        """Serve; gives its address."""
        url = self._served.enter_context(serving(self.stand_in, self._port))
        self._port = int(url.rpartition(":")[2])
        return url

    def stop(self) -> None:
        """Be away."""
        self._served.close()


@pytest.fixture
def registry(stand_in: StandIn) -> Iterator[Registry]:
    """One that is there at first."""
    registry = Registry(stand_in)
    yield registry
    registry.stop()


@pytest.fixture
def client(registry: Registry) -> Iterator[ServiceClient]:
    """A client of it."""
    with ServiceClient(registry.start(), timeout_s=2.0) as client:
        yield client


def beats(stand_in: StandIn) -> int:
    """How many heartbeats have come."""
    return len(stand_in.lines("POST /services/a/heartbeat"))


def more(count: Callable[[], int], by: int = 3) -> None:
    """Wait until something was counted some times more."""
    first = count()
    until(lambda: count() >= first + by, "more of them")


def stands(kept: Kept | AsyncKept, state: KeepState) -> bool:
    """Whether it stands so with the service."""
    return kept.state is state


def kept_by(client: ServiceClient, **options: Any) -> Kept:
    """A service that is kept by quick heartbeats."""
    return client.keep("a", **{"port": 1, "interval_s": BEAT_S, **options})


def messages(caplog: pytest.LogCaptureFixture) -> list[str]:
    """What was logged about services."""
    return [record.message for record in caplog.records if record.name.startswith("registry.services")]


def test_a_service_is_registered_for_the_time_of_the_block(client: ServiceClient, stand_in: StandIn) -> None:
    """It is there with the first line of the block, alive in the background, and gone after the block."""
    with kept_by(client, metadata={"x": 1}) as kept:
        assert stand_in.services["a"]["metadata"] == {"x": 1}
        assert stands(kept, KeepState.REGISTERED)
        more(lambda: beats(stand_in))
    assert stand_in.services == {}
    assert stands(kept, KeepState.ENDED)
    assert stand_in.lines()[-1] == "DELETE /services/a"


def test_the_block_of_the_async_client_does_the_same(registry: Registry, stand_in: StandIn) -> None:
    """Heartbeats come while the block awaits something."""

    async def keep() -> None:
        async with (
            AsyncServiceClient(registry.start()) as client,
            client.keep("a", port=1, interval_s=BEAT_S) as kept,
        ):
            await asyncio.to_thread(more, lambda: beats(stand_in))
            assert stands(kept, KeepState.REGISTERED)

    asyncio.run(keep())
    assert stand_in.lines()[-1] == "DELETE /services/a"


def test_a_service_is_unregistered_though_the_block_fails(client: ServiceClient, stand_in: StandIn) -> None:
    """Its own error goes on."""
    with pytest.raises(ZeroDivisionError), kept_by(client):
        _ = 1 / 0
    assert stand_in.services == {}


def test_a_service_that_was_forgotten_is_registered_again(client: ServiceClient, stand_in: StandIn) -> None:
    """A heartbeat that is answered with 404 is followed by a registration at once, as it was before."""
    with kept_by(client, metadata={"x": 1}):
        for _ in range(3):
            del stand_in.services["a"]
            until(lambda: "a" in stand_in.services, "registered again")
        assert stand_in.services["a"]["metadata"] == {"x": 1}
        more(lambda: beats(stand_in))


def test_a_registry_that_was_away_is_told_again(
    client: ServiceClient, registry: Registry, stand_in: StandIn, caplog: pytest.LogCaptureFixture
) -> None:
    """While it is away the state and the reason can be read; each change is logged once, and not each heartbeat."""
    caplog.set_level(logging.INFO)
    with kept_by(client) as kept:
        registry.stop()
        until(lambda: stands(kept, KeepState.UNREACHABLE), "known to be away")
        first = kept.last_error
        until(lambda: kept.last_error is not first, "another attempt")
        reason = kept.last_error
        assert isinstance(reason, RegistryUnreachable)
        stand_in.services.clear()  # it has no memory
        registry.start()
        until(lambda: stands(kept, KeepState.REGISTERED) and "a" in stand_in.services, "registered again")
        more(lambda: beats(stand_in))
        assert kept.last_error is None
    assert len([line for line in messages(caplog) if "cannot be kept registered" in line]) == 1
    assert messages(caplog).count("service a is registered") == 2


def test_attempts_are_never_rarer_than_heartbeats(client: ServiceClient, registry: Registry) -> None:
    """However long the registry is away, it is found again within an interval."""
    with kept_by(client) as kept:
        registry.stop()
        errors: list[ServicesError | None] = []
        while len(errors) < 20:
            until(lambda: kept.last_error not in (None, *errors), "another attempt")
            errors.append(kept.last_error)


def test_without_waiting_the_block_begins_before_the_registry(
    client: ServiceClient, registry: Registry, stand_in: StandIn
) -> None:
    """With `wait_s=0` a service may be started before its registry."""
    registry.stop()
    with kept_by(client, wait_s=0) as kept:
        until(lambda: stands(kept, KeepState.UNREACHABLE), "tried")
        registry.start()
        until(lambda: stands(kept, KeepState.REGISTERED), "registered")
        assert "a" in stand_in.services


def test_entering_waits_for_the_registry(client: ServiceClient, registry: Registry, stand_in: StandIn) -> None:
    """The block begins as soon as the registry is there."""
    registry.stop()
    kept = kept_by(client, wait_s=math.inf)

    def come_back() -> None:
        until(lambda: stands(kept, KeepState.UNREACHABLE), "tried")
        registry.start()

    thread = threading.Thread(target=come_back)
    thread.start()
    with kept:
        assert "a" in stand_in.services
    thread.join()


def test_entering_does_not_wait_longer_than_told(client: ServiceClient, registry: Registry, stand_in: StandIn) -> None:
    """Then nothing goes on in the background, and nothing is unregistered that never was registered."""
    registry.stop()
    kept = kept_by(client, wait_s=0.1)
    with pytest.raises(RegistryUnreachable, match="Connection refused"), kept:
        pytest.fail("entered")
    assert stands(kept, KeepState.ENDED)
    assert stand_in.lines() == []


def test_a_registration_under_way_is_taken_back(client: ServiceClient, stand_in: StandIn) -> None:
    """The end of the block waits for it: otherwise it could be done after the service was unregistered."""
    arrived, going_on = threading.Event(), threading.Event()

    def hold(asked: Asked) -> None:
        if asked.line == "POST /services":
            arrived.set()
            going_on.wait(20)

    stand_in.answer = hold
    with kept_by(client, wait_s=0):
        assert arrived.wait(10)
        threading.Timer(0.1, going_on.set).start()
    assert stand_in.lines() == ["POST /services", "DELETE /services/a"]
    assert stand_in.services == {}


def test_a_hanging_registry_is_not_waited_for_longer_than_told(registry: Registry, stand_in: StandIn) -> None:
    """A registration of which nothing is known is taken back, in case it was done."""
    going_on = threading.Event()

    def hang(asked: Asked) -> None:
        if asked.line == "POST /services":
            going_on.wait(20)

    stand_in.answer = hang
    with ServiceClient(registry.start(), timeout_s=0.2) as client:
        with pytest.raises(RegistryUnreachable, match="no answer within"), kept_by(client, wait_s=0.3):
            pytest.fail("entered")
        until(lambda: stand_in.lines("DELETE"), "taken back")
    going_on.set()


def test_a_registry_that_says_no_ends_the_wait_at_once(client: ServiceClient, stand_in: StandIn) -> None:
    """A wrong key does not become right by waiting."""
    stand_in.answer = lambda _: (401, b'{"error": "the key is wrong"}')
    with pytest.raises(RegistryRefused, match="the key is wrong"), kept_by(client, wait_s=math.inf):
        pytest.fail("entered")
    assert stand_in.lines() == ["POST /services"]


def test_a_registry_that_cannot_now_is_asked_again(client: ServiceClient, stand_in: StandIn) -> None:
    """A 503 while it starts is no reason to give up."""
    stand_in.answer = lambda _: (503, b"") if len(stand_in.asked) < 3 else None
    with kept_by(client, wait_s=math.inf):
        assert "a" in stand_in.services


def test_a_refusal_in_the_background_can_be_read(
    client: ServiceClient, stand_in: StandIn, caplog: pytest.LogCaptureFixture
) -> None:
    """It is logged once; the service is registered again when the registry no longer refuses."""
    with kept_by(client) as kept:
        stand_in.answer = lambda _: (403, b'{"error": "not you"}')
        until(lambda: stands(kept, KeepState.REFUSED), "refused")
        more(lambda: len(stand_in.asked))
        assert str(kept.last_error) == "the registry refused (403): not you"
        stand_in.answer = lambda _: None
        until(lambda: stands(kept, KeepState.REGISTERED), "registered")
    assert len([line for line in messages(caplog) if "not you" in line]) == 1


def test_garbage_in_the_background_ends_no_heartbeats(client: ServiceClient, stand_in: StandIn) -> None:
    """Whatever the registry answers, it is tried again."""
    with kept_by(client) as kept:
        stand_in.services.clear()
        stand_in.answer = lambda asked: (200, b"\xff" * 1000) if asked.line == "POST /services" else None
        until(lambda: stands(kept, KeepState.REFUSED), "refused")
        stand_in.answer = lambda _: None
        until(lambda: stands(kept, KeepState.REGISTERED), "registered")


def test_what_is_changed_is_told_at_once_and_remembered(client: ServiceClient, stand_in: StandIn) -> None:
    """A change does not wait for the next heartbeat, and is part of later registrations."""
    with kept_by(client, interval_s=1000.0) as kept:
        kept.change(status="draining", metadata={"models": ["m"]})
        until(lambda: stand_in.services["a"]["status"] == "draining", "told")
        assert stand_in.services["a"]["metadata"] == {"models": ["m"]}
        stand_in.services.clear()
        kept.change(status="running")
        until(lambda: stand_in.services, "registered again")
        assert stand_in.services["a"]["metadata"] == {"models": ["m"]}
        with pytest.raises(InvalidField):
            kept.change(status="x" * 5000)


def test_what_is_not_alive_sends_no_heartbeats(client: ServiceClient, stand_in: StandIn) -> None:
    """Its changes are told all the same, and it is registered again by one if it was forgotten."""
    with kept_by(client, interval_s=0.01) as kept:
        more(lambda: beats(stand_in))
        kept.change(status="restarting", alive=False)
        until(lambda: stand_in.services["a"]["status"] == "restarting", "told")
        before = len(stand_in.asked)
        kept.change(status="still restarting")
        until(lambda: stand_in.services["a"]["status"] == "still restarting", "told")
        assert [asked.method for asked in stand_in.asked[before:]] == ["PUT"]
        stand_in.services.clear()
        kept.change(status="running", alive=True)
        until(lambda: stand_in.services, "registered again")
        more(lambda: beats(stand_in))


def test_the_end_does_not_need_the_registry(
    client: ServiceClient, registry: Registry, caplog: pytest.LogCaptureFixture
) -> None:
    """A registry that is away at the end is told of in the log, and nothing is raised."""
    with kept_by(client):
        registry.stop()
    assert "service a could not be unregistered" in messages(caplog)[-1]


def test_closing_the_client_ends_what_it_keeps(client: ServiceClient, stand_in: StandIn) -> None:
    """The services are unregistered; leaving their blocks later does nothing more."""
    with kept_by(client) as kept:
        client.close()
        assert stand_in.services == {}
        assert stands(kept, KeepState.ENDED)
    assert len(stand_in.lines("DELETE")) == 1


def test_a_service_is_kept_once(client: ServiceClient) -> None:
    """The same object cannot be entered again."""
    with kept_by(client) as kept, pytest.raises(RuntimeError, match="kept already"), kept:
        pytest.fail("entered")


@pytest.mark.parametrize(
    ("options", "field"),
    [
        ({"interval_s": 0}, "interval_s"),
        ({"wait_s": -1}, "wait_s"),
        ({"wait_s": math.nan}, "wait_s"),
        ({"port": 0}, "port"),
    ],
)
def test_wrong_values_are_told_before_the_block(client: ServiceClient, options: dict[str, Any], field: str) -> None:
    """Nothing is sent for them."""
    with pytest.raises(InvalidField) as caught:
        kept_by(client, **options)
    assert caught.value.field == field


def test_a_forked_child_has_connections_of_its_own(client: ServiceClient, stand_in: StandIn) -> None:
    """Parent and child use one client at the same time, and each gets its own answers."""
    client.register("parent", port=1)

    def in_child() -> list[str]:
        with client:
            return [client.register(f"child-{number}", port=1).name for number in range(20)]

    assert in_fork(in_child) == [f"child-{number}" for number in range(20)]
    assert client.get("parent").name == "parent"
    assert len(stand_in.services) == 21


def test_a_forked_child_keeps_nothing(client: ServiceClient, stand_in: StandIn) -> None:
    """What its parent keeps registered stays, though the child leaves the block; the child says that it is forked."""
    with kept_by(client) as kept:

        def in_child() -> tuple[str, str]:
            kept.__exit__(None, None, None)
            client.close()
            try:
                kept.change(status="x")
            except RuntimeError as error:
                return kept.state, str(error)
            return kept.state, ""

        state, error = in_fork(in_child)
        assert state == "ended"
        assert "was forked" in error
        assert stand_in.lines("DELETE") == []
        assert stands(kept, KeepState.REGISTERED)
        more(lambda: beats(stand_in))


def test_what_ends_with_the_program_ends_quietly(registry: Registry, stand_in: StandIn) -> None:
    """A client that goes without being closed stops its heartbeats."""
    client = ServiceClient(registry.start())
    kept = kept_by(client)
    kept.__enter__()
    del client, kept
    gc.collect()
    until(lambda: "service registry" not in {thread.name for thread in threading.enumerate()}, "the thread ends")
    assert "a" in stand_in.services
