"""`actor-registry services`."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from tests.registry.cli.commands import ADMIN_KEY, Command, closed_port
from tests.registry.services.stand_in import StandIn, serving


@pytest.fixture
def stand_in(environment: pytest.MonkeyPatch) -> Iterator[StandIn]:
    """A stand-in, for which all commands of the test are meant."""
    stand_in = StandIn()
    with serving(stand_in) as url:
        environment.setenv("ACTOR_REGISTRY_SERVER", url)
        environment.setenv("ACTOR_REGISTRY_ADMIN_KEY", ADMIN_KEY)
        yield stand_in


@pytest.fixture
def a_service(command: Command, stand_in: StandIn) -> str:
    """The name of one that is registered."""
    del stand_in
    registered = command("services", "register", "llama", "--port", "8001", "--type", "openai-api", "--model", "m")
    assert registered.stdout == "registered llama (running, http://127.0.0.1:8001)\n"
    return "llama"


@pytest.mark.usefixtures("stand_in")
def test_life_of_a_service(command: Command, a_service: str) -> None:
    """A service is registered, listed, shown, heard of, checked and removed."""
    header, row = command("services").table()
    assert header == ["name", "status", "healthy", "probed", "heard s ago", "models", "url"]
    assert row == ["llama", "running", "yes", "unknown", "0", "m", "http://127.0.0.1:8001"]
    assert command("services", "heartbeat", a_service).stdout == "heard of llama\n"
    assert command("services", "heartbeat", a_service, "--status", "busy").stdout == "heard of llama (busy)\n"
    shown = {row[0]: row[1] for row in command("services", "show", a_service).table()}
    assert (shown["name"], shown["status"], shown["healthy"], shown["port"]) == ("llama", "busy", "no", "8001")
    checked = command("services", "check", a_service).stdout
    assert checked == "llama: unhealthy (it does not run, or its heartbeat is too old)\n"
    assert command("services", "remove", a_service).stdout == "removed llama\n"
    assert command("services").stdout == "no services\n"


@pytest.mark.usefixtures("a_service")
def test_lists_of_some_services(command: Command) -> None:
    """A list can be that of a status, or that of the healthy ones or of the others."""
    assert command("services", "register", "b", "--port", "1", "--status", "stopped").code == 0

    def names(*options: str) -> list[str]:
        return [one["name"] for one in command("services", *options, "--json").json()["services"]]

    assert names() == ["llama", "b"]
    assert names("--healthy") == ["llama"]
    assert names("--unhealthy") == ["b"]
    assert names("--status", "stopped") == ["b"]
    assert command("services", "list", "--status", "x").stdout == "no services to which all of this applies\n"


def test_what_is_registered_is_what_was_given(command: Command, stand_in: StandIn) -> None:
    """Type and models stand in the metadata, beside whatever else is given; the admin key is sent along."""
    registered = command(
        *("services", "register", "a/b", "--port", "1", "--host", "::1", "--url", "http://x/v1", "--json"),
        *("--type", "openai-api", "--model", "m", "--model", "n", "--metadata", '{"zone": "ü"}'),
    )
    metadata = {"zone": "ü", "type": "openai-api", "models": ["m", "n"]}
    assert registered.json()["service"]["metadata"] == metadata
    (asked,) = stand_in.asked
    assert json.loads(asked.body) == {
        "name": "a/b",
        "host": "::1",
        "port": 1,
        "hostname": "::1",
        "url": "http://x/v1",
        "status": "running",
        "metadata": metadata,
    }
    assert asked.headers["authorization"] == f"Bearer {ADMIN_KEY}"
    assert command("services", "remove", "a/b").code == 0
    assert stand_in.lines()[-1] == "DELETE /services/a%2Fb"


@pytest.mark.parametrize(
    "arguments",
    [
        ("register", "a"),
        ("register", "a", "--port", "0"),
        ("register", "a", "--port", "x"),
        ("register", "", "--port", "1"),
        ("register", "x" * 2000, "--port", "1"),
        ("register", "a", "--port", "1", "--metadata", "["),
        ("register", "a", "--port", "1", "--metadata", "[]"),
        ("register", "a", "--port", "1", "--metadata", '{"type": "x"}', "--type", "y"),
        ("register", "a", "--port", "1", "--metadata", '{"models": []}', "--model", "y"),
        ("register", "a", "--port", "1", "--host", "x" * 5000),
        ("heartbeat", "a", "--status", "x" * 5000),
        ("show", ""),
        ("remove",),
        ("nonsense",),
    ],
)
def test_wrong_use(command: Command, stand_in: StandIn, arguments: tuple[str, ...]) -> None:
    """One sentence, the exit code for wrong use, and nothing is sent."""
    command("services", *arguments).sentence(2)
    assert stand_in.asked == []


@pytest.mark.usefixtures("stand_in")
@pytest.mark.parametrize("verb", ["show", "heartbeat", "check", "remove"])
def test_unknown_service(command: Command, verb: str) -> None:
    """The server's own sentence is shown."""
    assert command("services", verb, "nobody").sentence(1) == "Service 'nobody' not found"


def test_what_the_server_says_against_it(command: Command, stand_in: StandIn) -> None:
    """The error of the service registry is the sentence, without control characters."""
    stand_in.answer = lambda _: (400, b'{"error": "Invalid\\u001b JSON"}')
    assert command("services").sentence(1) == "Invalid\\x1b JSON"


def test_a_wrong_key(command: Command, stand_in: StandIn) -> None:
    """It is told that the key is wrong, and the key is not shown."""
    stand_in.answer = lambda _: (401, b'{"error": "wrong"}')
    said = command("services", "remove", "a").sentence(1)
    assert said == "the admin key in ACTOR_REGISTRY_ADMIN_KEY is not the server's"


@pytest.mark.parametrize("body", [b"<html>", b'{"services": 1}', b'{"services": [{}], "timestamp": ""}', b"[]"])
def test_an_answer_that_is_none(command: Command, stand_in: StandIn, body: bytes) -> None:
    """What cannot be read is as good as no server."""
    stand_in.answer = lambda _: (200, body)
    command("services").sentence(3)


def test_nobody_there(command: Command) -> None:
    """As for every other command."""
    said = command("services", "--server", f"http://127.0.0.1:{closed_port()}").sentence(3)
    assert said.startswith("nobody answers at http://127.0.0.1:")
