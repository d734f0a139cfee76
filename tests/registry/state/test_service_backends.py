"""Services that are backends: one backend for each server that any service names."""

from __future__ import annotations

from typing import Any

import pytest

from actors.errors import CommandError
from registry import commands as c
from registry.kinds import BackendStatus, DiscoverySource, Outcome
from registry.state.records import MAX_MODELS, BackendRecord, ModelRecord
from registry.state.service_metadata import declared_models
from registry.state.service_records import ServiceRecord
from tests.registry.state.driver import State, backend
from tests.registry.state.test_services import service

URL = "http://gpu:8000"


def server(name: str = "s", *models: Any, url: str = URL, **said: Any) -> c.RegisterService:
    """The registration of a service that is a backend with these models."""
    return service(name, url=url, metadata={"type": "openai-api", "models": list(models)}, **said)


def only(state: State) -> BackendRecord:
    """The one backend that there is."""
    (record,) = state.actor.backends.records.values()
    return record


def models(record: BackendRecord) -> list[str]:
    """Ids of its models."""
    return [model.id for model in record.models]


def test_service_makes_a_backend() -> None:
    """It has the address and the models of the service, and has to be probed; both come in one revision."""
    state = State()
    state.apply(server("s", "m", "n"))
    record = only(state)
    assert (record.id, record.name, record.url, models(record)) == ("gpu:8000", "s", URL, ["m", "n"])
    assert (record.status, record.discovery_source) == (BackendStatus.UNKNOWN, DiscoverySource.SERVICE)
    assert state.revision == record.revision == state.actor.services.require("s").revision == 1
    state.apply(c.RemoveService("s"))
    assert (state.ids(), state.revision) == ([], 2)


@pytest.mark.parametrize(
    "said",
    [
        service(url=URL, metadata={"models": ["m"]}),
        service(url=URL, metadata={"type": "OpenAI-API"}),
        server(url="gpu:8000"),
        server(url=""),
        server(url="http://gpu:8000?key=1"),
        server(url=f"http://gpu/{'x' * 510}"),
        server(url=f"http://gpu/{'x' * 2100}"),
    ],
)
def test_service_that_is_no_backend(said: c.RegisterService) -> None:
    """Another type, or an address that cannot be used or is too long for an id: a service like any other."""
    state = State()
    state.apply(said)
    assert (state.ids(), list(state.actor.services.records)) == ([], ["s"])


@pytest.mark.parametrize("other", ["HTTP://0.0.0.0:9000/v1/", "http://127.1:9000", "http://[::FFFF:127.0.0.1]:9000/v1"])
def test_one_backend_for_several_services(other: str) -> None:
    """However they spell its address; with the models of all; it goes with the last of them."""
    state = State()
    state.apply(server("a", "m", "n", url="http://localhost:9000"))
    state.apply(server("b", "o", "m", url=other))
    assert models(only(state)) == ["m", "n", "o"]
    state.apply(c.RemoveService("a"))
    assert set(models(only(state))) == {"m", "o"}
    state.apply(c.RemoveService("b"))
    assert state.ids() == []


def test_backend_that_is_there_is_used_and_stays() -> None:
    """One from the configuration is left as it is, whatever services say of it, come or go."""
    state = State(backend("mine", "z", url=f"{URL}/v1"))
    before = only(state)
    state.apply(server("s", "m"))
    state.apply(c.UpdateService("s", status="stopped"))
    assert only(state) == before
    state.apply(c.RemoveService("s"))
    assert only(state) == before


def test_backend_that_is_configured_later_takes_the_place() -> None:
    """There is one of each server; when it is removed the services have theirs again, in the same revision."""
    state = State()
    state.apply(server("s", "m"))
    state.apply(c.AddBackend(backend("mine", "z", url=URL)))
    assert (state.ids(), state.revision) == (["mine"], 2)
    state.apply(c.RemoveBackend("mine"))
    assert (state.ids(), models(only(state)), state.revision) == (["gpu:8000"], ["m"], 3)
    state.apply(c.PutBackend(backend("gpu:8000", "z", url=URL)))
    state.apply(c.PutBackend(backend("gpu:8000", "z", url="http://other:1")))
    assert state.ids() == ["gpu:8000", "gpu:8000-2"]


def test_backend_that_somebody_removed_comes_back_with_the_next_registration() -> None:
    """Removal is not undone by a heartbeat, but whoever registers wants to be used."""
    state = State()
    state.apply(server("s", "m", timestamp="then"))
    state.apply(c.RemoveBackend("gpu:8000"))
    state.apply(c.Heartbeat("s"))
    assert state.ids() == []
    state.apply(server("s", "m", timestamp="then"))
    assert state.ids() == ["gpu:8000"]


def test_id_that_is_taken() -> None:
    """Another backend of that id keeps it."""
    state = State(backend("gpu:8000", url="http://x:1"), backend("gpu:8000-2", url="http://x:2"))
    state.apply(server())
    assert state.ids() == ["gpu:8000", "gpu:8000-2", "gpu:8000-3"]


@pytest.mark.parametrize("change", [c.UpdateService("s", url="http://other:1"), server("s", url="http://other:1")])
def test_address_changes(change: c.Command) -> None:
    """The old backend goes and the new one comes, in the same revision."""
    state = State()
    state.apply(server("s", "m"))
    state.apply(change)
    assert (state.ids(), state.revision) == (["other:1"], 2)


def test_type_changes() -> None:
    """A service that is no backend any more takes its backend with it."""
    state = State()
    state.apply(server("s", "m"))
    state.apply(c.UpdateService("s", metadata={}))
    assert (state.ids(), state.revision) == ([], 2)


def test_declared_models_are_written_when_they_change() -> None:
    """What probes have found stays until a service declares something else, and what they know of a model stays."""
    state = State()
    state.apply(server("s", "m", "n"))
    found = (ModelRecord("n", name="N", context_length=7), ModelRecord("found", name="found"))
    state.apply(c.UpdateModels("gpu:8000", found))
    state.apply(server("s", "n", "m"))
    state.apply(c.Heartbeat("s", "stopped"))
    assert only(state).models == found
    state.apply(server("s", "n", "o"))
    assert only(state).models == (found[0], ModelRecord("o", name="o"))


def test_drained_while_no_service_runs() -> None:
    """By their word, not by their heartbeats; and again to be probed when one of them runs again."""
    state = State()
    state.apply(server("a", "m"))
    state.apply(server("b", "m", status="starting"))
    state.apply(c.UpdateStatus("gpu:8000", BackendStatus.HEALTHY))
    state.apply(c.Heartbeat("a", "stopping"))
    assert only(state).status is BackendStatus.DRAINING
    state.apply(c.Heartbeat("b", "running"))
    assert only(state).status is BackendStatus.UNKNOWN
    state.apply(c.RemoveService("b"))
    assert only(state).status is BackendStatus.DRAINING
    state.apply(c.RemoveService("a"))
    state.apply(server("a", status="starting"))
    assert only(state).status is BackendStatus.DRAINING


def test_silence_drains_nobody() -> None:
    """A backend is as healthy as its probes find it, however silent its service is."""
    state = State()
    state.tick()
    state.apply(server("s", "m"))
    state.apply(c.UpdateStatus("gpu:8000", BackendStatus.HEALTHY))
    for _ in range(260):
        state.now_s += 0.5
        state.tick()
    assert not state.actor.services.require("s").is_healthy
    assert only(state).status is BackendStatus.HEALTHY


def test_drained_by_hand() -> None:
    """What somebody drains stays so while its services go on running."""
    state = State()
    state.apply(server("s", "m"))
    state.apply(c.DrainBackend("gpu:8000"))
    state.apply(server("s", "m", "n"))
    assert only(state).status is BackendStatus.DRAINING


def test_nothing_is_left_of_a_backend() -> None:
    """Who waits for it is refused, what was counted of it is forgotten, and a lease on it can be given back."""
    state = State()
    state.apply(server("s", "m"))
    state.apply(c.UpdateStatus("gpu:8000", BackendStatus.HEALTHY))
    state.release(state.acquire(), latency_ms=5, first_byte_ms=1)
    lease = state.acquire()
    state.apply(c.RemoveService("s"))
    assert not state.actor.traffic.requests_ended()
    assert not len(state.actor.backends.counters)
    state.release(lease, outcome=Outcome.OK)
    with pytest.raises(CommandError):
        state.acquire()


def test_backends_are_made_right_at_the_start_of_a_life() -> None:
    """After a journal was recovered in part: no backend that nobody names, and each that somebody names."""
    state = State(backend("left", url="http://left:1", discovery_source=DiscoverySource.SERVICE), backend("mine"))
    state.apply(server("s", "m"))
    state.apply(c.RemoveBackend("gpu:8000"))
    state.tick()
    assert state.ids() == ["mine", "gpu:8000"]


@pytest.mark.parametrize(
    ("said", "ids"),
    [
        (["a", "b", "a"], ["a", "b"]),
        (["", "x" * 1024, "x" * 1025, 7, None, ["a"], {"id": "a"}, "ü"], ["x" * 1024, "ü"]),
        ("abc", []),
        ({"a": 1}, []),
        (None, []),
        ([str(number) for number in range(MAX_MODELS + 5)], [str(number) for number in range(MAX_MODELS)]),
    ],
)
def test_declared_models(said: Any, ids: list[str]) -> None:
    """Strings that can be ids, each once, not too many; whatever else stands there says nothing."""
    record = ServiceRecord("s", "h", 1, "h", URL, "running", "", {"models": said})
    assert list(declared_models(record)) == ids


def test_models_of_all_services_are_not_too_many() -> None:
    """Of what several services declare together, as much is taken as a backend may have."""
    state = State()
    half = MAX_MODELS // 2 + 1
    state.apply(server("a", *(f"a{number}" for number in range(half))))
    state.apply(server("b", *(f"b{number}" for number in range(half))))
    assert len(only(state).models) == MAX_MODELS
