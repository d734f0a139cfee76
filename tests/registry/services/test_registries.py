"""What the clients do is the same at the original registry and at this project's own."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from registry.kinds import ServiceHealth
from registry.services import KeepState, RegistryRefused, ServiceClient, ServiceNotFound
from tests.polling import until
from tests.processes import Program, program
from tests.registry.services.faces import FACES, Caller, calling
from tests.registry.services.stand_in import StandIn, serving

KEY = "the-key-of-the-operators"
PLACES = ["original", "own"]


@contextmanager
def served(directory: Path, port: int = 0) -> Iterator[Program]:
    """This project's own registry, which wants a key for changes."""
    config = directory / "server.yaml"
    config.write_text(f"port: {port}\ngateways: 2\nadmin_key_env: THE_KEY\n")
    arguments = ("-m", "registry", "serve", "--config", str(config), "--data-dir", str(directory))
    with program(*arguments, THE_KEY=KEY) as run:
        until(run.address, "the server serves", 20)
        yield run


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of one, which runs while the tests of this file do."""
    with served(tmp_path_factory.mktemp("served")) as run:
        yield run.address()
        assert "Traceback" not in run.stderr
        run.kill(signal.SIGTERM)
        assert run.ends() == 0


@pytest.fixture(scope="module")
def original() -> Iterator[str]:
    """The address of a stand-in for the original."""
    with serving(StandIn()) as url:
        yield url


@pytest.fixture(params=PLACES)
def place(request: pytest.FixtureRequest) -> Iterator[str]:
    """The address of each registry in turn; it is left without services."""
    url: str = request.getfixturevalue(request.param)
    yield url
    with ServiceClient(url, key=KEY) as client:
        for service in client.list():
            client.remove(service.name)


@pytest.fixture(params=FACES)
def call(request: pytest.FixtureRequest, place: str) -> Iterator[Caller]:
    """Each client of each registry."""
    with calling(request.param, place, key=KEY) as caller:
        yield caller


def test_a_service_from_its_registration_to_its_removal(call: Caller) -> None:
    """Each method does what its name says."""
    view = call("register", "llama", port=8001, metadata={"type": "openai-api", "models": ["m"]})
    assert (view.name, view.host, view.hostname, view.port) == ("llama", "127.0.0.1", "127.0.0.1", 8001)
    assert (view.url, view.status, view.is_healthy) == ("http://127.0.0.1:8001", "running", True)
    assert view.health_status is ServiceHealth.UNKNOWN
    call("heartbeat", "llama")
    call("heartbeat", "llama", "draining")
    assert call("get", "llama").status == "draining"
    changed = call("update", "llama", port=8002, metadata={})
    assert (changed.port, changed.metadata, changed.status) == (8002, {}, "draining")
    assert call("check", "llama").health_status is ServiceHealth.UNHEALTHY
    call("remove", "llama")
    assert call("list") == []


def test_lists_are_of_all_services_or_of_some(call: Caller) -> None:
    """Both filters can be given, and neither need be."""
    call("register", "a", port=1)
    call("register", "b", port=2, status="stopped")
    assert [one.name for one in call("list")] == ["a", "b"]
    assert [one.name for one in call("list", healthy=True)] == ["a"]
    assert [one.name for one in call("list", status="stopped", healthy=False)] == ["b"]


def test_the_registry_tells_of_itself(call: Caller) -> None:
    """Its health and its statistics are read into their types."""
    call("register", "a", port=1)
    call("register", "b", port=2, status="stopped")
    assert call("health").registered_services == 2
    stats = call("stats")
    assert (stats.total_services, stats.healthy_services, stats.unhealthy_services) == (2, 1, 1)
    assert stats.status_distribution == {"running": 1, "stopped": 1}
    assert stats.host_distribution == {"127.0.0.1": 2}


@pytest.mark.parametrize("name", ["a/b", "..", ".", "ü λ", "a?b#c", "%2F", "x" * 1024])
def test_any_name_can_be_spoken_of(call: Caller, name: str) -> None:
    """No character of a name is taken for a part of the path."""
    call("register", name, port=1)
    assert call("get", name).name == name
    call("remove", name)


@pytest.mark.parametrize("method", ["get", "heartbeat", "remove", "check", "update"])
def test_unknown_services_are_an_error_of_their_own(call: Caller, method: str) -> None:
    """It is the same error as that of the Python registry, and has the name."""
    with pytest.raises(ServiceNotFound) as caught:
        call(method, "nobody")
    assert caught.value.name == "nobody"


def test_a_service_is_kept(place: str) -> None:
    """It is there for the time of the block; one that was removed by somebody else is registered again."""
    with ServiceClient(place, key=KEY) as client:
        with client.keep("kept", port=1, interval_s=0.05, metadata={"x": [1]}) as kept:
            assert client.get("kept").is_healthy
            client.remove("kept")
            until(lambda: [one.metadata for one in client.list()] == [{"x": [1]}], "registered again")
            first = client.get("kept").last_heartbeat
            until(lambda: client.get("kept").last_heartbeat > first, "a heartbeat")
            kept.change(status="draining")
            until(lambda: client.get("kept").status == "draining", "changed")
        with pytest.raises(ServiceNotFound):
            client.get("kept")


def test_without_the_key_changes_are_refused(own: str) -> None:
    """The refusal has the registry's own sentence; reads are open."""
    with ServiceClient(own) as client:
        with pytest.raises(RegistryRefused) as caught:
            client.register("a", port=1)
        assert caught.value.status == 401
        assert client.list() == []


def test_a_service_outlives_the_death_of_its_registry(tmp_path: Path) -> None:
    """Once the server is started again after a kill the service is as before, with a new heartbeat."""
    with served(tmp_path) as run:
        url = run.address()
        client = ServiceClient(url, key=KEY, timeout_s=5.0)
        kept = client.keep("kept", port=1, interval_s=0.1)
        kept.__enter__()
        registered = client.get("kept")
        run.kill(signal.SIGKILL)
        run.ends()
    until(lambda: kept.state is KeepState.UNREACHABLE, "known to be away")
    with served(tmp_path, int(url.rpartition(":")[2])):
        until(lambda: kept.state is KeepState.REGISTERED, "registered", 20)
        again = client.get("kept")
        assert again.is_healthy
        assert again.timestamp == registered.timestamp
        assert again.last_heartbeat > registered.last_heartbeat
        kept.end()
        assert client.list() == []
        client.close()
