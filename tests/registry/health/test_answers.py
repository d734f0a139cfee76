"""What is made of an answer, whatever it is; the servers are stand-ins."""

from __future__ import annotations

import asyncio
import itertools
import json
import time
from email.utils import formatdate

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from registry.addresses import AddressSettings
from registry.health.abilities import make_model
from registry.health.findings import MAX_RETRY_AFTER_S, read_retry_after
from registry.health.probes import openai
from registry.kinds import BackendStatus, BackendType, Target
from registry.state.records import MAX_MODELS
from tests.loops import on_loop
from tests.registry.health.stand_in import StandIn, answer, found, listing, order, prober, running

SECRET = "sk-do-not-show"
ALL_TYPES = pytest.mark.parametrize("type", list(BackendType))
PATH = "GET /v1/models"


class Slow(StandIn):
    """Sends its answers piece by piece, each when the loop has nothing else to do, or never ends.

    Args:
        endless: Whether it goes on for ever.
    """

    def __init__(self, pages: dict[str, bytes | None], *, endless: bool = False) -> None:
        super().__init__(pages)
        self._endless = endless
        self.sent = 0

    async def write(self, writer: asyncio.StreamWriter, reply: bytes) -> None:
        size = 65_536 if self._endless else 1
        pieces = (reply[at : at + size] for at in range(0, len(reply), size))
        for piece in itertools.chain(pieces, itertools.repeat(b" " * size)) if self._endless else pieces:
            writer.write(piece)
            await writer.drain()
            self.sent += len(piece)
            await asyncio.sleep(0)


@pytest.mark.parametrize(
    ("status", "fields", "expected", "retry_after_s"),
    [
        ("401 Unauthorized", [], BackendStatus.MISCONFIGURED, None),
        ("403 Forbidden", [], BackendStatus.MISCONFIGURED, None),
        ("429 Too Many Requests", ["retry-after: 17"], BackendStatus.RATE_LIMITED, 17.0),
        ("429 Too Many Requests", [], BackendStatus.RATE_LIMITED, None),
        ("429 Too Many Requests", ["retry-after: soon"], BackendStatus.RATE_LIMITED, None),
        ("503 Service Unavailable", ["retry-after: 3"], BackendStatus.WARMING, 3.0),
        ("503 Service Unavailable", [], BackendStatus.UNHEALTHY, None),
        ("508 Loop Detected", [], BackendStatus.MISCONFIGURED, None),
        ("500 Internal Server Error", [], BackendStatus.UNHEALTHY, None),
        ("404 Not Found", [], BackendStatus.UNHEALTHY, None),
        ("204 No Content", [], BackendStatus.UNHEALTHY, None),
    ],
)
@ALL_TYPES
@on_loop
async def test_other_status(
    type: BackendType, status: str, fields: list[str], expected: BackendStatus, retry_after_s: float | None
) -> None:
    """Every other status than 200 has its meaning, the same for all types, and is told with its number."""
    finding = await found(StandIn({"*": answer(b"", status, *fields)}), type)
    assert (finding.status, finding.retry_after_s) == (expected, retry_after_s)
    assert status[:3] in str(finding.error)


@pytest.mark.parametrize("words", ["Loading model", "server is STARTING", "not ready", "initializing engine"])
@on_loop
async def test_words_of_a_server_that_loads(words: str) -> None:
    """A server that says with its 503 that it loads is warming."""
    body = answer({"error": {"message": words}}, "503 Service Unavailable")
    assert (await found(StandIn({"*": body}))).status is BackendStatus.WARMING


@on_loop
async def test_key_that_is_missing_or_wrong() -> None:
    """Whoever reads of a refusal learns which setting to look at, but not the key."""
    refusal = answer({"error": f"Bearer {SECRET} is wrong"}, "401 Unauthorized")
    without = (await found(StandIn({"*": refusal}))).error
    wrong = (await found(StandIn({"*": refusal}), key=SECRET)).error
    assert without == f"{PATH} answered 401: it may want a key in this backend's api_key or api_key_file"
    assert wrong == f"{PATH} answered 401: it does not accept the key in this backend's api_key or api_key_file"


@given(st.text() | st.integers().map(str) | st.floats().map(str))
def test_any_retry_after(text: str) -> None:
    """Whatever a server says, it is left alone for a day at most, or for no time in particular."""
    value = text.encode("latin-1", "replace")
    said = read_retry_after([(b"server", b"x"), (b"retry-after", value)])
    assert said is None or 0 <= said <= MAX_RETRY_AFTER_S


def test_retry_after_a_date() -> None:
    """A server may name the moment from which on it may be asked again."""
    for ahead_s, least, most in ((60, 50, 60), (-60, 0, 0), (10**7, MAX_RETRY_AFTER_S, MAX_RETRY_AFTER_S)):
        date = formatdate(time.time() + ahead_s, usegmt=True).encode()
        said = read_retry_after([(b"retry-after", date)])
        assert said is not None
        assert least <= said <= most


GARBAGE = [
    b"",
    b"<html>hello</html>",
    b"{}",
    b"[]",
    b"null",
    b"7",
    b'{"data": {}, "models": {}}',
    b'{"data": [{}], "models": [{}]}',
    b'{"data": [7], "models": ["m"]}',
    b'{"data": [{"id": 7}], "models": [{"name": [], "key": null, "supportedGenerationMethods": ["generateContent"]}]}',
    b'{"data": [{"id": ""}], "models": [{"name": ""}]}',
    b'{"data": [{"id": "m"}',
    b'{"data": [{"id": "\xff"}], "models": [{"name": "\xff"}]}',
    b'{"data": [{"id": "\\ud800"}], "models": [{"name": "\\ud800"}]}',
    json.dumps({"data": [{"id": "m" * 1025}], "models": [{"name": "m" * 1025}]}).encode(),
    b"\x00" * 100,
    b"[" * 100_000,
    b'{"data": [], "models": [], "surplus": ' + b"[" * 100_000,
    b'{"data": [{"id": NaN}]}',
]


@ALL_TYPES
@on_loop
async def test_garbage(type: BackendType) -> None:
    """A server that answers something that is no list of models is not well, which is told in one line."""
    server = StandIn({})
    async with running(server):
        one = prober()
        for body in GARBAGE:
            server.pages["*"] = answer(body)
            finding = await one.probe(order(server.url, type))
            assert finding.status is BackendStatus.UNHEALTHY, (body[:80], finding)
            assert "answered something that is no list of models" in str(finding.error)


@ALL_TYPES
@settings(max_examples=30)
@given(
    st.recursive(
        st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats() | st.text() | st.just("m"),
        lambda inner: (
            st.lists(inner)
            | st.dictionaries(
                st.sampled_from(
                    [
                        *("data", "models", "id", "name", "key", "model", "digest", "meta", "n_ctx", "capabilities"),
                        *("architecture", "input_modalities", "max_model_len", "owned_by", "supported_parameters"),
                        *("modalities", "vision", "default_generation_settings", "chat_template", "type"),
                        *("loaded_instances", "config", "context_length", "model_info", "x.context_length"),
                        *("supportedGenerationMethods", "inputTokenLimit", "max_tokens", "display_name"),
                    ]
                ),
                inner,
            )
        ),
        max_leaves=30,
    )
)
def test_any_json(type: BackendType, value: object) -> None:
    """Whatever JSON a server answers to everything, there is a finding, and the models in it are whole."""
    assert_found(type, {"data": [value], "models": [value], **(value if isinstance(value, dict) else {})})


@on_loop
async def assert_found(type: BackendType, value: object) -> None:
    """There is a finding for a server that answers this to everything."""
    finding = await found(StandIn({"*": answer(json.dumps(value).encode())}), type)
    for model in finding.models or ():
        assert model.record().id


@on_loop
async def test_bad_entries_are_left_out() -> None:
    """Of a list, what stands for a model counts; each model once, in the server's order."""
    body = answer({"data": [{"id": "m"}, {"id": 7}, None, {"id": "n"}, {}, {"id": "m", "max_model_len": 7}]})
    finding = await found(StandIn({PATH: body}))
    assert [(m.id, m.context_length) for m in finding.models or ()] == [("m", 4096), ("n", 4096)]


@on_loop
async def test_more_models_than_a_backend_may_have() -> None:
    """Of an endless list the first ones count."""
    finding = await found(StandIn({PATH: listing(*(f"m{number}" for number in range(MAX_MODELS + 5)))}))
    assert [m.id for m in finding.models or ()] == [f"m{number}" for number in range(MAX_MODELS)]


@on_loop
async def test_list_that_is_made_to_take_long(monkeypatch: pytest.MonkeyPatch) -> None:
    """What comes after as many entries as a backend may have models is not looked at, though none of these is one."""
    looked_at: list[object] = []
    monkeypatch.setattr(openai, "model_of", looked_at.append)
    finding = await found(StandIn({PATH: answer({"data": [{}] * (MAX_MODELS + 5)})}), BackendType.OPENAI)
    assert finding.error == "GET /v1/models answered something that is no list of models"
    assert len(looked_at) == MAX_MODELS


def test_name_of_a_model_that_is_made_to_take_long() -> None:
    """A name is judged in a time that grows with its length, and one that is too long for a model not at all."""
    begun_s = time.process_time()
    for number in range(100):
        assert make_model(f"{'gemma3' * 170}{number}") is not None
    assert make_model("gemma3" * 1_000_000) is None
    assert time.process_time() - begun_s < 1.0


@on_loop
async def test_redirect_is_not_followed() -> None:
    """A server cannot send a probe, with its key, somewhere else."""
    elsewhere = StandIn({"*": listing("m")})
    async with running(elsewhere):
        moved = answer(b"", "302 Found", f"location: {elsewhere.url}/v1/models")
        finding = await found(StandIn({"*": moved}), key=SECRET)
    assert (finding.status, elsewhere.requests) == (BackendStatus.UNHEALTHY, [])
    assert finding.error == f"{PATH} answered 302, which leads elsewhere and is not followed"


@on_loop
async def test_proxies_of_the_environment_are_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    """Probes go to the server itself, whatever the environment says."""
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    assert (await found(StandIn({PATH: listing("m")}))).status is BackendStatus.HEALTHY


@pytest.mark.parametrize(
    ("reply", "said"),
    [
        (b"SSH-2.0-OpenSSH_9.9\r\n\r\n", "is not HTTP"),
        (b"HTTP/1.1 200 OK\r\ncontent-length: -1\r\n\r\n", "is not HTTP"),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 99999999999999999999999\r\n\r\n", "is not HTTP"),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 18446744073709551615\r\n\r\n{", "no answer within"),
        (b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nzzz\r\n", "is not HTTP"),
        (b"HTTP/1.1 200 OK\r\n" + b"x: y\r\n" * 100_000, "header fields of the answer are too long"),
        (answer(b"{}").replace(b": 2", b": 99"), "no answer within"),
    ],
)
@on_loop
async def test_what_is_no_http(reply: bytes, said: str) -> None:
    """What cannot be read as an answer is told as such."""
    finding = await found(StandIn({"*": reply}), timeout_s=0.3 if said == "no answer within" else 5.0)
    assert finding.status is BackendStatus.UNHEALTHY
    assert said in str(finding.error)


@on_loop
async def test_answer_that_breaks_off() -> None:
    """A body that is shorter than announced is not taken for the whole."""

    class Breaking(StandIn):
        async def write(self, writer: asyncio.StreamWriter, reply: bytes) -> None:
            await super().write(writer, reply)
            writer.close()

    finding = await found(Breaking({"*": answer(b"{}").replace(b": 2", b": 99")}))
    assert finding.error == f"{PATH}: the server closed the connection"


@on_loop
async def test_answer_of_unknown_length() -> None:
    """An answer that ends with its connection, or comes in chunks and with any type of content, is read whole."""
    body = json.dumps({"data": [{"id": "m"}]}).encode()
    chunked = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\ncontent-type: text/html\r\n\r\n"
    chunked += b"".join(b"1\r\n%c\r\n" % byte for byte in body) + b"0\r\n\r\n"
    assert (await found(StandIn({PATH: chunked}))).status is BackendStatus.HEALTHY


@pytest.mark.parametrize("length", [True, False])
@on_loop
async def test_answer_that_is_too_big(length: bool) -> None:
    """Of an answer of 10 MB, or one without an end, no more is taken than may come."""
    head = b"HTTP/1.1 200 OK\r\n%b\r\n" % (b"content-length: 10000000\r\n" if length else b"")
    server = Slow({"*": head}, endless=True)
    finding = await found(server)
    assert finding.error == f"{PATH} answered {'10 MB' if length else 'more than 4 MB'} of something"
    assert server.sent < 16 * 1024 * 1024


@on_loop
async def test_slow_answer_has_one_deadline() -> None:
    """A server that sends a byte now and then, so that something always comes, is given up in time."""
    server = Slow({"*": listing("m" * 2_000_000)})
    finding = await found(server, timeout_s=0.3)
    assert (finding.status, finding.error) == (BackendStatus.UNHEALTHY, "no answer within 0.3 s")
    assert finding.latency_ms is None


@ALL_TYPES
@on_loop
async def test_silence(type: BackendType) -> None:
    """A server that accepts and says nothing is given up in time, whatever its type."""
    assert (await found(StandIn({"*": None}), type, timeout_s=0.2)).error == "no answer within 0.2 s"


@on_loop
async def test_deadline_is_for_all_requests_of_a_probe() -> None:
    """A server that is slow in each of its answers has no more time for several than for one."""

    class Late(StandIn):
        async def write(self, writer: asyncio.StreamWriter, reply: bytes) -> None:
            await asyncio.sleep(0.3)  # how slow it is; nobody waits for it to be over
            await super().write(writer, reply)

    server = Late({"GET /health": answer(b"{}"), "GET /v1/models": listing("m")})
    finding = await found(server, BackendType.LLAMACPP, timeout_s=0.5)
    assert finding.error == "no answer within 0.5 s"


@on_loop
async def test_nobody_listens() -> None:
    """A refused connection is told in words."""
    server = StandIn({})
    async with running(server):
        url = server.url
    assert (await prober().probe(order(url))).error == "connection refused"


@pytest.mark.parametrize("target", list(Target))
@on_loop
async def test_forbidden_address(target: Target) -> None:
    """What may not be connected to is not, and the finding says so."""
    server = StandIn({"*": listing("m")})
    async with running(server):
        finding = await prober(addresses=AddressSettings(networks=[])).probe(order(server.url, target=target))
    assert (finding.status, server.connections) == (BackendStatus.UNHEALTHY, 0)
    assert finding.error == "127.0.0.1 is in none of the allowed networks"


@pytest.mark.parametrize("target", list(Target))
@pytest.mark.parametrize(
    "url",
    [
        *("", "nonsense", "ftp://x/", "http://", "http://a:b@c/", "http://x:99999/", "http://x:y/", "http://[::1"),
        *("http://\x00/", "http://a b/", "http://x\u2024y/\u00e9", "http:///health", "http://" + "a" * 5000),
    ],
)
@on_loop
async def test_url_that_is_none(url: str, target: Target) -> None:
    """An address that cannot be one is a reason like any other."""
    finding = await prober().probe(order(url, target=target))
    assert finding.status is BackendStatus.UNHEALTHY
    assert finding.error is not None
    assert finding.error.isprintable()
    assert len(finding.error) <= 300


@pytest.mark.parametrize(
    ("status", "healthy"),
    [("200 OK", True), *((f"{code} X", False) for code in (201, 204, 301, 400, 401, 429, 500, 503))],
)
@on_loop
async def test_service(status: str, healthy: bool) -> None:
    """A service is healthy if its page answers 200, and only then; what the page contains is not even read."""
    server = Slow({"GET /a%20b/health?x=1": f"HTTP/1.1 {status}\r\n\r\n".encode()}, endless=True)
    async with running(server):
        finding = await prober({server.url: SECRET}).probe(order(f"{server.url}/a b/health?x=1", target=Target.SERVICE))
    assert (finding.status is BackendStatus.HEALTHY) is healthy
    assert finding.error == (None if healthy else f"answered {status[:3]}")
    assert finding.models is None
    assert SECRET not in server.requests[0]
