"""What is refused, and how it is said: each status, against a real registry."""

from __future__ import annotations

import json
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx2
import pytest

from actors.errors import ActorsError, CommandCrashedOwner, CommandFailed, MessageTooLarge
from registry import errors
from registry.api.refusals import status_of
from registry.api.routes import MAX_BODY_BYTES
from tests.registry.api.conftest import ADMIN_KEY, Served

URL = "http://gpu-1:8000"
JSON = {"content-type": "application/json"}


def problem(answer: httpx2.Response, status: int) -> dict[str, Any]:
    """The problem details of an answer, which must be of this status."""
    assert (answer.status_code, answer.headers["content-type"]) == (status, "application/problem+json"), answer.text
    body: dict[str, Any] = answer.json()
    assert (body["type"], body["status"]) == ("about:blank", status)
    assert body["title"]
    assert body["detail"]
    return body


def fields(answer: httpx2.Response) -> list[str]:
    """The fields that a 422 names."""
    return [error["field"] for error in problem(answer, 422)["errors"]]


@pytest.mark.parametrize(
    "body",
    [b"", b"{", b"nonsense", b'{"url": "\xff"}', b"[" * 100_000, b'{"priority": ' + b"9" * 5_000 + b"}", b'{"a": 1} 2'],
)
def test_body_that_is_no_json(served: Served, body: bytes) -> None:
    """400 for a body that cannot be read at all, however odd it is."""
    problem(served.client.post("/backends", content=body, headers=JSON), 400)


@pytest.mark.parametrize(
    "media_type", ["text/plain", "application/xml", "application/x-www-form-urlencoded", "json", ""]
)
def test_media_type_that_is_not_taken(served: Served, media_type: str) -> None:
    """415 for a body that does not say that it is JSON: web pages of other sites cannot say so."""
    headers = {"content-type": media_type}
    answer = served.client.post("/backends", content=b'{"url": "http://x"}', headers=headers)
    assert "application/json" in problem(answer, 415)["detail"]
    assert served.client.patch("/backends/a", content=b"{}", headers=headers).headers["accept-patch"]
    assert served.registry.backend_count(fresh=True) == 0


def test_media_type_with_parameters(served: Served) -> None:
    """A media type may have parameters and be written in any case."""
    headers = {"content-type": "Application/JSON; charset=utf-8"}
    assert served.client.post("/backends", content=b'{"url": "http://x"}', headers=headers).status_code == 201


@pytest.mark.parametrize(
    ("body", "named"),
    [
        ({}, ["url"]),
        ([], [""]),
        (None, [""]),
        ({"url": "ftp://x"}, ["url"]),
        ({"url": "http://user:secret@x"}, ["url"]),
        ({"url": "http://"}, ["url"]),
        ({"url": URL, "nope": 1}, ["nope"]),
        ({"url": URL, "id": "x" * 513}, ["id"]),
        ({"url": URL, "models": [{"id": "m"}, {"id": ""}]}, ["models[1].id"]),
        ({"url": URL, "models": [{"id": "m", "context_length": -1}]}, ["models[0].context_length"]),
        ({"url": URL, "backend_type": "other"}, ["backend_type"]),
        ({"url": URL, "weight": 0, "max_concurrency": 0}, ["weight", "max_concurrency"]),
        ({"url": URL, "priority": "1"}, ["priority"]),
        ({"url": URL, "priority": 2**31}, ["priority"]),
        ({"url": URL, "labels": {"": "x"}}, ["labels"]),
        ({"url": URL, "labels": {"k": 1}}, ["labels.k"]),
    ],
)
def test_fields_at_fault_are_named(served: Served, body: object, named: list[str]) -> None:
    """422 for a body that is JSON and no backend, with each field and never its value; nothing is changed."""
    revision = served.registry.revision
    content = json.dumps(body).encode()
    for method, target in (("POST", "/backends"), ("PUT", "/backends/a")):
        answer = served.client.request(method, target, content=content, headers=JSON)
        assert fields(answer) == named
        assert "secret" not in answer.text
    assert served.client.get("/backends").json() == {"backends": [], "revision": revision}


@pytest.mark.parametrize(
    "body",
    [
        b'{"url": "\\ud800"}',
        b'{"url": "http://x", "\\ud800": 1}',
        b'{"url": "http://x", "labels": {"\\ud800": "x"}}',
        b'{"url": "http://x", "labels": {"\\ud800": 1}}',
    ],
)
def test_halves_of_surrogate_pairs(served: Served, body: bytes) -> None:
    """Text that is no Unicode is refused like any other wrong field."""
    fields(served.client.post("/backends", content=body, headers=JSON))


@pytest.mark.parametrize(
    ("target", "named"),
    [
        ("/backends?status=ill", ["status"]),
        ("/backends?type=other", ["type"]),
        ("/backends?model=", ["model"]),
        ("/backends?label=zone", ["label[0]"]),
        ("/backends?" + "&".join(["label=k:v"] * 11), ["label"]),
        ("/backends?models=m", ["models"]),
        ("/history?since=1_0", ["since"]),
        ("/history?since=1.0", ["since"]),
        ("/history?limit=+1", ["limit"]),
        ("/backends?model=a&model=b", ["model"]),
        ("/backends/a?x=1", ["x"]),
        ("/backends/", ["id"]),
        ("/backends/" + "x" * 513, ["id"]),
        ("/backends/%FF", ["id"]),
        ("/leases?backend=", ["backend"]),
        ("/status?x", ["x"]),
    ],
)
def test_parameters_at_fault_are_named(served: Served, target: str, named: list[str]) -> None:
    """422 for parameters out of their limits, and for those that are not known here or given twice."""
    assert fields(served.client.get(target)) == named


def test_body_that_is_too_long(served: Served) -> None:
    """413 for a long body, and for one so long that it is not read at all."""
    for size in (MAX_BODY_BYTES + 1, 11 * 2**20):
        try:
            answer = httpx2.post(f"{served.url}/backends", content=b" " * size, headers=served.client.headers | JSON)
        except httpx2.WriteError:
            continue  # it was answered and hung up on before it had sent all
        problem(answer, 413)


@pytest.mark.parametrize(
    ("method", "target", "allowed"),
    [
        ("DELETE", "/backends", "GET, HEAD, POST"),
        ("POST", "/backends/a", "DELETE, GET, HEAD, PATCH, PUT"),
        ("GET", "/backends/a/drain", "POST"),
        ("DELETE", "/backends/a/undrain", "POST"),
        ("GET", "/leases/1", "DELETE"),
        ("POST", "/status", "GET, HEAD"),
        ("OPTIONS", "/leases", "GET, HEAD"),
        ("TRACE", "/backends", "GET, HEAD, POST"),
        ("POST", "/livez", "GET, HEAD"),
    ],
)
def test_method_that_is_not_there(served: Served, method: str, target: str, allowed: str) -> None:
    """405 says which methods there are, whoever asks."""
    for client in (served.client, httpx2):
        answer = client.request(method, target if client is served.client else served.url + target)
        assert problem(answer, 405)["detail"] == f"{method} is not allowed for {target}."
        assert answer.headers["allow"] == allowed


@pytest.mark.parametrize("target", ["/backends", "/leases", "/status", "/openapi.json", "/livez", "/docs"])
def test_head(served: Served, target: str) -> None:
    """HEAD is answered like GET, without a body."""
    whole, head = served.client.get(target), served.client.head(target)
    assert (head.status_code, head.content) == (200, b"")
    assert head.headers["content-type"] == whole.headers["content-type"]
    assert head.headers["content-length"] == str(len(whole.content))


def changes(served: Served) -> Iterator[tuple[str, str]]:
    """All operations that are no GET, by the OpenAPI document."""
    for path, operations in served.client.get("/openapi.json").json()["paths"].items():
        for method in operations:
            if method != "get":
                yield method.upper(), path.replace("{id}", "1")


NO_KEY = "Changes need the admin key: send it as Authorization: Bearer KEY."
WRONG_KEY = "The admin key that was sent is not the server's."


@pytest.mark.parametrize(
    ("authorization", "reason"),
    [
        *((sent, NO_KEY) for sent in (None, "", ADMIN_KEY, "Bearer", f"Basic {ADMIN_KEY}", "\xff x")),
        *((sent, WRONG_KEY) for sent in (f"Bearer {ADMIN_KEY}x", "Bearer \xff")),
    ],
)
def test_changes_need_the_key(served: Served, authorization: str | None, reason: str) -> None:
    """401 for every change without the key, before anything else is looked at, and no key is not a wrong one."""
    headers = {} if authorization is None else {b"authorization": authorization.encode("latin-1")}
    found = list(changes(served))
    assert len(found) >= 11
    for method, path in found:
        answer = httpx2.request(method, served.url + path, content=b"{", headers=headers)
        services = path.startswith("/services")
        assert (answer.json()["error"] if services else problem(answer, 401)["detail"]) == reason
        assert answer.status_code == 401
        assert answer.headers["www-authenticate"].startswith("Bearer ")
        assert ("invalid_token" in answer.headers["www-authenticate"]) == (reason == WRONG_KEY)
    assert httpx2.get(f"{served.url}/backends").status_code == 200


def test_name_of_the_scheme_in_any_case(served: Served) -> None:
    """`bearer` is `Bearer`."""
    headers = {"authorization": f"bEARER  {ADMIN_KEY}"}
    assert httpx2.post(f"{served.url}/backends", json={"url": URL}, headers=headers).status_code == 201


@contextmanager
def full_disk(pid: int) -> Iterator[None]:
    """Let a process write no files, as on a full disk."""
    before = resource.prlimit(pid, resource.RLIMIT_FSIZE, (0, resource.RLIM_INFINITY))
    try:
        yield
    finally:
        resource.prlimit(pid, resource.RLIMIT_FSIZE, before)


def test_disk_that_is_full(served: Served) -> None:
    """503 for changes that cannot be stored, with a time to try again; reads go on, and changes when there is room."""
    owner = next(info.pid for info in served.supervisor.processes() if info.name == "owner")
    assert owner is not None
    with full_disk(owner):
        answer = served.client.post("/backends", json={"id": "a", "url": URL})
        problem(answer, 503)
        assert answer.headers["retry-after"] == "1"
        assert served.client.get("/backends").json()["backends"] == []
    assert served.client.post("/backends", json={"id": "a", "url": URL}).status_code == 201


STATUSES: dict[type[ActorsError], int] = {
    errors.BackendNotFound: 404,
    errors.LeaseNotFound: 404,
    errors.ModelNotFound: 404,
    errors.ServiceNotFound: 404,
    errors.DuplicateBackend: 409,
    errors.Compacted: 410,
    errors.RevisionMismatch: 412,
    errors.InvalidField: 422,
    errors.CommandInvalid: 422,
    errors.NoBackendAvailable: 503,
    errors.QueueFull: 503,
    errors.StorageUnavailable: 503,
    errors.SystemStopped: 503,
    errors.Overloaded: 503,
    errors.CallTimeout: 503,
    errors.OutcomeUnknown: 503,
    CommandFailed: 500,
    CommandCrashedOwner: 500,
    MessageTooLarge: 413,
}


@pytest.mark.parametrize("kind", STATUSES)
def test_status_of_each_error(kind: type[ActorsError]) -> None:
    """Every error of the registry has one status."""
    assert status_of(kind.__new__(kind)) == STATUSES[kind]


def test_no_error_of_the_registry_is_forgotten() -> None:
    """A new error must be given a status here."""
    own = {one for one in vars(errors).values() if isinstance(one, type) and issubclass(one, errors.RegistryError)}
    assert own - set(STATUSES) == {errors.RegistryError}
