"""`actor-registry services`."""

from __future__ import annotations

import json
import signal
from collections.abc import Iterator

import pytest

from tests.polling import until
from tests.processes import program
from tests.registry.cli.commands import ADMIN_KEY, Command, Served, closed_port
from tests.registry.services.stand_in import StandIn, serving


@pytest.fixture
def stand_in(environment: pytest.MonkeyPatch) -> Iterator[StandIn]:
    """A stand-in, for which all commands of the test are meant."""
    stand_in = StandIn()
    with serving(stand_in) as url:
        environment.setenv("ACTOR_REGISTRY_SERVER", url)
        environment.setenv("ACTOR_REGISTRY_ADMIN_KEY", ADMIN_KEY)
        yield stand_in


@pytest.fixture(params=["stand_in", "served"])
def anywhere(request: pytest.FixtureRequest) -> None:
    """The original registry and this project's own in turn; all commands of the test are meant for it."""
    request.getfixturevalue(request.param)


@pytest.fixture
def a_service(command: Command, anywhere: None) -> Iterator[str]:
    """The name of one that is registered."""
    del anywhere
    registered = command("services", "register", "llama", "--port", "8001", "--type", "openai-api", "--model", "m")
    assert registered.stdout == "registered llama (running, http://127.0.0.1:8001)\n"
    yield "llama"
    for service in command("services", "--json").json()["services"]:
        assert command("services", "remove", service["name"]).code == 0


def test_life_of_a_service(command: Command, a_service: str) -> None:
    """A service is registered, listed, shown, heard of and removed."""
    header, (*row, heard_s, models, url) = command("services").table()
    assert header == ["name", "status", "healthy", "probed", "heard s ago", "models", "url"]
    assert row == ["llama", "running", "yes", "unknown"]
    assert (models, url) == ("m", "http://127.0.0.1:8001")
    assert 0 <= int(heard_s) < 60
    assert command("services", "heartbeat", a_service).stdout == "heard of llama\n"
    assert command("services", "heartbeat", a_service, "--status", "busy").stdout == "heard of llama (busy)\n"
    shown = {row[0]: row[1] for row in command("services", "show", a_service).table()}
    assert (shown["name"], shown["status"], shown["healthy"], shown["port"]) == ("llama", "busy", "no", "8001")
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


@pytest.mark.usefixtures("stand_in")
def test_checks(command: Command) -> None:
    """A check tells what the probe found, and whether heartbeats come."""
    assert command("services", "register", "a", "--port", "1").code == 0
    assert command("services", "check", "a").stdout == "a: unhealthy (its heartbeat is young enough)\n"
    assert command("services", "check", "a", "--json").json()["is_healthy"] is True


def test_watch(command: Command, served: Served) -> None:
    """What becomes of services is printed as it happens; heartbeats and backends are no news."""
    revision = command("status", "--json").json()["revision"]
    assert command("services", "register", "w", "--port", "1", "--type", "openai-api").code == 0
    directory = ("--data-dir", str(served.directory), "--since", str(revision))
    with (
        program("-m", "registry", "services", "watch", *directory) as people,
        program("-m", "registry", "services", "watch", *directory, "--json") as programs,
    ):
        for arguments in (("heartbeat", "w"), ("heartbeat", "w", "--status", "busy"), ("remove", "w")):
            assert command("services", *arguments).code == 0
        until(lambda: people.stdout.endswith("service w: removed\n"), "the removal is printed", 20)
        until(lambda: len(programs.stdout.splitlines()) == 3, "the same for programs", 20)
        for watching in (people, programs):
            watching.kill(signal.SIGINT)
            assert watching.ends() == 130
        what = [line.rpartition("  ")[2] for line in people.stdout.splitlines()]
        assert what == [
            "service w: added, http://127.0.0.1:1",
            "service w: status running → busy, is_healthy true → false",
            "service w: removed",
        ]
        for line in programs.stdout.splitlines():
            assert [(row["table"], row["key"]) for row in json.loads(line)["rows"]] == [("services", "w")]


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


@pytest.mark.usefixtures("anywhere")
@pytest.mark.parametrize("verb", ["show", "heartbeat", "remove"])
def test_unknown_service(command: Command, verb: str) -> None:
    """The server's own sentence is shown."""
    assert command("services", verb, "nobody").sentence(1).rstrip(".") == "Service 'nobody' not found"


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
