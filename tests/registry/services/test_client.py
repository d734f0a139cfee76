from __future__ import annotations

import asyncio
import gc
import json
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import pytest

from registry.kinds import ServiceHealth
from registry.services import (
    AnswerInvalid,
    AsyncServiceClient,
    InvalidField,
    RegistryRefused,
    RegistryUnreachable,
    ServiceClient,
)
from registry.services.requests import MAX_ANSWER_BYTES
from tests.polling import until
from tests.registry.services.faces import FACES, Caller, calling
from tests.registry.services.stand_in import Asked, StandIn

KEY = "made-up-key"


@pytest.fixture(params=FACES)
def call(request: pytest.FixtureRequest, url: str) -> Iterator[Caller]:
    """Each client in turn."""
    with calling(request.param, url, key=KEY) as caller:
        yield caller


def test_what_is_sent_is_what_the_original_clients_send(call: Caller, stand_in: StandIn) -> None:
    """A registration has the six required fields; a plain heartbeat has no body."""
    call("register", "a", port=1, host="::1", hostname="gpu", timestamp="2020-01-01T00:00:00")
    call("heartbeat", "a")
    registration, heartbeat = stand_in.asked
    assert json.loads(registration.body) == {
        "name": "a",
        "host": "::1",
        "port": 1,
        "hostname": "gpu",
        "url": "http://[::1]:1",
        "status": "running",
        "timestamp": "2020-01-01T00:00:00",
    }
    assert heartbeat.body == b""
    assert "content-type" not in heartbeat.headers


def test_lists_are_filtered_by_the_registry(call: Caller, stand_in: StandIn) -> None:
    """What is asked for stands in the query."""
    call("list")
    call("list", healthy=True)
    call("list", status="stopped", healthy=False)
    assert stand_in.lines() == [
        "GET /services",
        "GET /services?healthy=true",
        "GET /services?status=stopped&healthy=false",
    ]


@pytest.mark.parametrize(
    ("arguments", "field"),
    [
        ({"name": ""}, "name"),
        ({"name": "x" * 1025}, "name"),
        ({"name": 7}, "name"),
        ({"name": "\ud800"}, "name"),
        ({"port": 0}, "port"),
        ({"port": 65_536}, "port"),
        ({"port": "80"}, "port"),
        ({"port": True}, "port"),
        ({"host": None}, "host"),
        ({"url": "x" * 4097}, "url"),
        ({"status": 1}, "status"),
        ({"metadata": [1]}, "metadata"),
        ({"metadata": {"x": float("nan")}}, "metadata"),
        ({"metadata": {"x": object()}}, "metadata"),
        ({"metadata": {"x": "\ud800"}}, "metadata"),
        ({"metadata": {"x": 2**64}}, "metadata"),
        ({"metadata": json.loads('{"x":' * 101 + "1" + "}" * 101)}, "metadata"),
        ({"metadata": {"x": "y" * 1024 * 1024}}, "metadata"),
    ],
)
def test_values_out_of_their_limits_are_not_sent(
    call: Caller, stand_in: StandIn, arguments: dict[str, Any], field: str
) -> None:
    """The limits are the registry's; the error names the field."""
    with pytest.raises(InvalidField) as caught:
        call("register", **{"name": "a", "port": 1, **arguments})
    assert caught.value.field == field
    assert stand_in.asked == []


@pytest.mark.parametrize(
    ("url", "options", "field"),
    [
        ("ftp://registry", {}, "url"),
        ("http://user:secret@registry", {}, "url"),
        ("http://registry", {"key": "two\nlines secret"}, "key"),
        ("http://registry", {"timeout_s": 0}, "timeout_s"),
        ("http://registry", {"timeout_s": float("nan")}, "timeout_s"),
    ],
)
@pytest.mark.parametrize("kind", [ServiceClient, AsyncServiceClient])
def test_a_client_that_cannot_work_is_not_made(
    kind: type[ServiceClient | AsyncServiceClient], url: str, options: dict[str, Any], field: str
) -> None:
    """A wrong address, key or deadline is told at once, and no secret is in what is told."""
    with pytest.raises(InvalidField) as caught:
        kind(url, **options)
    assert caught.value.field == field
    assert "secret" not in str(caught.value)


def test_the_key_is_sent_and_never_shown(call: Caller, stand_in: StandIn) -> None:
    """Not even where the registry says it back in an error."""
    stand_in.answer = lambda asked: (401, json.dumps({"error": f"no {asked.headers['authorization']}"}).encode())
    with pytest.raises(RegistryRefused) as caught:
        call("list")
    assert stand_in.asked[0].headers["authorization"] == f"Bearer {KEY}"
    assert str(caught.value) == "the registry refused (401): no Bearer ***"
    assert KEY not in repr(call.client)


@pytest.mark.parametrize(
    ("answer", "reason", "is_for_now"),
    [
        ((400, b'{"error": "Invalid JSON"}'), "Invalid JSON", False),
        ((409, b""), "Conflict", False),
        ((503, b'{"detail": "not now\\n\\u001b[31m"}'), "not now ?[31m", True),
        ((500, b"<html>" + b"x" * 1000), "Internal Server Error", True),
        ((307, b""), "Temporary Redirect", False),
    ],
)
def test_what_the_registry_says_against_it(
    call: Caller, stand_in: StandIn, answer: tuple[int, bytes], reason: str, is_for_now: bool
) -> None:
    """A refusal has the status and one line on why, if the registry says why."""
    stand_in.answer = lambda _: answer
    with pytest.raises(RegistryRefused) as caught:
        call("register", "a", port=1)
    assert (caught.value.status, caught.value.reason) == (answer[0], reason)
    assert caught.value.is_for_now is is_for_now


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<html>",
        b"\xff\xfe",
        b"[" * 100_000,
        b'{"services": 7}',
        b'{"services": [{"name": "a"}]}',
        b"x" * 10_000_000,
    ],
    ids=["empty", "html", "no utf-8", "deep", "number", "no fields", "10 MB"],
)
def test_garbage_is_no_answer(call: Caller, stand_in: StandIn, body: bytes) -> None:
    """What is not a registry's JSON is a typed error, however long it is."""
    stand_in.answer = lambda _: (200, body)
    for asked in ("list", "health", "stats"):
        with pytest.raises(AnswerInvalid) as caught:
            call(asked)
        assert len(str(caught.value)) < 500


def test_an_answer_about_one_service_has_a_limit(call: Caller, stand_in: StandIn) -> None:
    """More than any service can have is not read on."""
    stand_in.answer = lambda _: (200, b'{"a": "' + b"x" * MAX_ANSWER_BYTES + b'"}')
    with pytest.raises(AnswerInvalid, match="more than"):
        call("get", "a")


def test_the_original_takes_what_we_would_not(call: Caller, stand_in: StandIn) -> None:
    """A port that is a string, no metadata, a time without a zone and fields of others are read all the same."""
    original = (
        b'{"services": [ {"name": "a", "host": "h", "port": "80", "hostname": "h", "url": "u", "status": "running", '
        b'"timestamp": "2026-11-21T01:29:32.744764", "last_heartbeat": 5, "health_status": "odd", "metadata": null, '
        b'"weight": 3, "is_healthy": false} ], "total": 1 }'
    )
    stand_in.answer = lambda _: (200, original)
    (view,) = call("list")
    assert (view.port, view.metadata, view.last_heartbeat) == (80, {}, 5.0)
    assert view.health_status is ServiceHealth.UNKNOWN


@contextmanager
def raw_server(first: bytes, again: bytes = b"") -> Iterator[str]:
    """A server that says something to whoever connects, and something else every hundredth of a second from then on."""
    stopped = threading.Event()
    listening = socket.create_server(("127.0.0.1", 0))

    def answer(connection: socket.socket) -> None:
        with connection:
            try:
                connection.sendall(first)
                while not stopped.wait(0.01):
                    connection.sendall(again)
            except OSError:
                return

    def serve() -> None:
        while True:
            try:
                connection, _ = listening.accept()
            except OSError:
                return
            threads.append(threading.Thread(target=answer, args=(connection,)))
            threads[-1].start()

    threads = [threading.Thread(target=serve)]
    threads[0].start()
    try:
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"
    finally:
        stopped.set()
        listening.shutdown(socket.SHUT_RDWR)
        listening.close()
        for thread in threads:
            thread.join()


@pytest.mark.parametrize("face", FACES)
@pytest.mark.parametrize(
    ("first", "again"),
    [
        (b"", b""),
        (b"HTTP/1.1 200 OK\r\n", b"x: y\r\n"),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 1000000\r\n\r\n", b" "),
    ],
    ids=["silent", "endless header", "endless body"],
)
def test_a_registry_that_hangs_is_not_waited_for(face: str, first: bytes, again: bytes) -> None:
    """The deadline is for the whole answer, however it is dragged out."""
    with (
        raw_server(first, again) as url,
        calling(face, url, timeout_s=0.3) as call,
        pytest.raises(RegistryUnreachable, match="no answer within") as caught,
    ):
        call("list")
    assert caught.value.maybe_done


@pytest.mark.parametrize("face", FACES)
def test_what_is_no_http_is_unreachable(face: str) -> None:
    """Something else that listens there is told of in a sentence."""
    with (
        raw_server(b"SSH-2.0-OpenSSH_9.2\r\n\r\n") as url,
        calling(face, url) as call,
        pytest.raises(RegistryUnreachable, match="the connection broke"),
    ):
        call("list")


@pytest.mark.parametrize("face", FACES)
def test_nobody_there(face: str) -> None:
    """The operating system's reason is told, and that nothing was done."""
    refused = pytest.raises(RegistryUnreachable, match="Connection refused")
    with calling(face, "http://127.0.0.1:1") as call, refused as caught:
        call("list")
    assert not caught.value.maybe_done


def test_no_proxy_is_asked_for_this_machine(call: Caller, monkeypatch: pytest.MonkeyPatch) -> None:
    """A proxy of the environment cannot reach this machine's own addresses."""
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    assert call("health").status == "healthy"


def test_many_threads_may_use_one_client(url: str, stand_in: StandIn) -> None:
    """Each thread has its own answers."""
    with ServiceClient(url) as client, ThreadPoolExecutor(8) as pool:
        names = [f"s{number}" for number in range(100)]
        views = list(pool.map(lambda name: client.register(name, port=1), names))
    assert [view.name for view in views] == names
    assert set(stand_in.services) == set(names)


def test_a_closed_client_says_so(url: str) -> None:
    """Closing twice is fine; its thread is gone, and a call after it is an error."""
    client = ServiceClient(url)
    client.health()
    client.close()
    client.close()
    assert "service registry" not in {thread.name for thread in threading.enumerate()}
    with pytest.raises(RuntimeError, match="is closed"):
        client.health()


def test_closing_ends_the_calls_of_other_threads(stand_in: StandIn, url: str) -> None:
    """Whoever waits for an answer then is told, and waits no longer."""
    going_on = threading.Event()

    def hang(_: Asked) -> None:
        going_on.wait(20)

    stand_in.answer = hang
    client = ServiceClient(url)
    with ThreadPoolExecutor(4) as pool:
        calls = [pool.submit(client.health) for _ in range(4)]
        until(lambda: len(stand_in.asked) == 4, "all are asked")
        client.close()
        going_on.set()
        for call in calls:
            with pytest.raises(RuntimeError, match="is closed"):
                call.result()


def test_a_forgotten_client_leaves_no_thread(url: str) -> None:
    """A client that nobody has any more ends its thread."""
    client = ServiceClient(url)
    client.health()
    del client
    until(lambda: "service registry" not in {thread.name for thread in threading.enumerate()}, "the thread ends")


def test_a_client_may_be_collected_in_its_own_thread(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The garbage collector runs in whatever thread it likes; the end of this one is then not waited for."""
    complaints: list[object] = []
    monkeypatch.setattr(sys, "unraisablehook", complaints.append)
    gone = threading.Event()

    async def collect_when_gone() -> None:
        waiting = asyncio.get_running_loop().run_in_executor(None, gone.wait)
        waiting.add_done_callback(lambda _: gc.collect())

    client = ServiceClient(url)
    client._thread.run(collect_when_gone)
    circle: list[object] = [client]
    circle.append(circle)
    del client, circle
    gone.set()
    until(lambda: "service registry" not in {thread.name for thread in threading.enumerate()}, "the thread ends")
    assert not complaints


def test_an_async_client_belongs_to_one_loop(url: str) -> None:
    """Used in another loop it says so, and does not hang."""
    client = AsyncServiceClient(url)
    with asyncio.Runner() as first, asyncio.Runner() as second:
        assert first.run(client.health()).status == "healthy"
        with pytest.raises(RuntimeError, match="event loop that first used it"):
            second.run(client.health())
        first.run(client.close())


def test_without_the_http_library_one_sentence_says_what_to_install() -> None:
    """A plain install has no HTTP client."""
    program = "import sys; sys.modules['httpx2'] = None; import registry.services"
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert ran.stderr.splitlines()[-1] == "ImportError: registry.services needs httpx2: install actor-registry[server]"
