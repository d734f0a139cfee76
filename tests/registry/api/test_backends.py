"""`/backends`, against a real registry."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any
from urllib.parse import quote

import httpx2
import pytest

from actors.channel import DEFAULT_LIMIT
from registry import Backend, BackendStatus, Model, Registry
from registry.errors import NoBackendAvailable
from tests.registry.api.conftest import Served

URL = "http://gpu-1:8000"
JSON = {"content-type": "application/json"}


def path(id: str, *more: str) -> str:
    """The path of a backend."""
    return "/".join(["/backends", quote(id, safe=""), *more])


def etag(revision: int) -> dict[str, str]:
    """The condition that a backend has a revision."""
    return {"if-match": f'"{revision}"'}


def ids(answer: httpx2.Response) -> list[str]:
    """The ids in a list of backends."""
    return [backend["id"] for backend in answer.json()["backends"]]


def add(served: Served, id: str = "a", **fields: Any) -> dict[str, Any]:
    """Add a backend."""
    answer = served.client.post("/backends", json={"id": id, "url": URL, **fields})
    assert answer.status_code == 201, answer.text
    added: dict[str, Any] = answer.json()
    return added


def test_added_backend_is_where_it_is_said_to_be(served: Served) -> None:
    """POST answers with the backend as it is from now on, its place and its revision."""
    answer = served.client.post("/backends", json={"url": f"{URL}/v1/", "models": [{"id": "m"}]})
    added = answer.json()
    assert (answer.status_code, added["id"], added["status"]) == (201, "gpu-1:8000/v1", "unknown")
    assert answer.headers["etag"] == f'"{added["revision"]}"'
    found = served.client.get(answer.headers["location"])
    assert (found.status_code, found.headers["etag"], found.json()) == (200, answer.headers["etag"], added)
    assert served.registry.get_backend(added["id"], fresh=True) is not None


def test_second_one_of_an_id_is_refused(served: Served) -> None:
    """409 for an id that is taken; the backend stays as it is."""
    add(served, name="first")
    answer = served.client.post("/backends", json={"id": "a", "url": URL, "name": "second"})
    assert (answer.status_code, answer.json()["detail"]) == (409, "backend already exists: a")
    assert served.client.get("/backends/a").json()["name"] == "first"


@pytest.mark.parametrize(
    ("query", "chosen"),
    [
        ("", ["a", "b", "c"]),
        ("?model=m", ["a", "b"]),
        ("?status=healthy", ["b"]),
        ("?type=vllm", ["c"]),
        ("?label=zone:eu", ["a", "b"]),
        ("?label=zone:eu&label=url:http://x", ["b"]),
        ("?label=zone:eu&model=m&status=unknown&type=generic", ["a"]),
        ("?label=zone:", []),
        ("?model=other", []),
    ],
)
def test_backends_can_be_chosen(served: Served, query: str, chosen: list[str]) -> None:
    """`/backends` lists those that are all of what is asked for, with the revision of that moment."""
    add(served, "a", models=[{"id": "m"}], labels={"zone": "eu"})
    add(served, "b", models=[{"id": "m"}], labels={"zone": "eu", "url": "http://x"}, status="healthy")
    last = add(served, "c", backend_type="vllm")
    answer = served.client.get(f"/backends{query}")
    assert (answer.status_code, ids(answer), answer.json()["revision"]) == (200, chosen, last["revision"])


ODD_IDS = ["a/b", "a/drain", "drain", "100%", "%2F", "ü/東京 😀", "..", "a//b", "?x=1#y", "a\nb", "\\"]


@pytest.mark.parametrize("id", ODD_IDS)
def test_ids_may_be_anything(served: Served, id: str) -> None:
    """Whatever an id holds, percent-encoded it is one name, for every method."""
    location = served.client.post("/backends", json={"id": id, "url": URL}).headers["location"]
    quoted = path(id).replace("..", "%2E%2E")
    assert location == quoted
    assert served.client.get(quoted).json()["id"] == id
    assert served.client.patch(quoted, json={"priority": 3}).json()["priority"] == 3
    assert served.client.put(quoted, json={"url": URL}).json()["priority"] == 0
    assert served.client.post(f"{quoted}/drain").json()["status"] == "draining"
    assert served.client.post(f"{quoted}/undrain").json()["status"] == "unknown"
    assert served.client.delete(quoted).json()["id"] == id
    assert served.client.get(quoted).status_code == 404


def test_list_longer_than_a_message(served: Served) -> None:
    """A list has no limit, whichever gateway is asked."""
    metadata = {str(number): "x" * 4_000 for number in range(100)}
    add = Registry.add_backend.call
    for at in range(0, 45, 5):
        served.registry.batch(
            [add(Backend(url=f"http://long{one}:1", id=f"long{one}", metadata=metadata)) for one in range(at, at + 5)]
        )
    for client in (served.client, served.other):
        answer = client.get("/backends")
        assert len(answer.content) > DEFAULT_LIMIT
        listed = answer.json()
        assert listed["revision"] == served.registry.revision
        assert [backend["id"] for backend in listed["backends"]] == [f"long{number}" for number in range(45)]


def test_slashes_of_an_id_may_stay(served: Served) -> None:
    """An id that was made from a URL can be written as it is shown."""
    add(served, "gpu-1:8000/v1")
    assert served.client.get("/backends/gpu-1:8000/v1").json()["id"] == "gpu-1:8000/v1"
    assert served.client.post("/backends/gpu-1:8000/v1/drain").json()["status"] == "draining"


def test_put_adds_and_replaces(served: Served) -> None:
    """PUT adds with 201, and replaces the whole configuration with 200; what is not configured stays."""
    first = served.client.put("/backends/a", json={"url": URL, "labels": {"zone": "eu"}, "models": [{"id": "m"}]})
    assert (first.status_code, first.headers["location"]) == (201, "/backends/a")
    served.registry.update_status("a", BackendStatus.HEALTHY)
    with served.registry.lease("m"):
        second = served.client.put("/backends/a", json={"url": URL, "priority": 2})
        replaced = second.json()
        assert (second.status_code, second.headers["etag"]) == (200, f'"{replaced["revision"]}"')
        assert (replaced["labels"], replaced["priority"], replaced["models"]) == ({}, 2, [])
        assert (replaced["status"], replaced["pending_requests"]) == ("healthy", 1)
    assert served.client.put("/backends/a", json={"url": URL, "status": "unhealthy"}).json()["status"] == "unhealthy"


def test_put_of_what_was_seen(served: Served) -> None:
    """`If-Match` makes 412 of a change that meant another state, `If-None-Match: *` of one that meant a new backend."""
    seen = add(served)
    changed = served.client.put("/backends/a", json={"url": URL, "weight": 2}, headers=etag(seen["revision"]))
    assert changed.status_code == 200
    for headers in (etag(seen["revision"]), {"if-none-match": "*"}):
        refused = served.client.put("/backends/a", json={"url": URL, "name": "late"}, headers=headers)
        assert (refused.status_code, refused.headers["content-type"]) == (412, "application/problem+json")
    assert served.client.get("/backends/a").headers["etag"] == changed.headers["etag"]
    assert served.client.put("/backends/new", json={"url": URL}, headers=etag(1)).status_code == 412
    assert served.client.put("/backends/new", json={"url": URL}, headers={"if-none-match": "*"}).status_code == 201


@pytest.mark.parametrize("given", ["7", '"a"', 'W/"{}"', '"07"', "", '"' + "9" * 19 + '"', '"{}" "{}"', "*, *"])
def test_tags_that_are_of_no_backend(served: Served, given: str) -> None:
    """What names no revision, or only weakly, does not name that of the backend."""
    revision = add(served)["revision"]
    headers = {"if-match": given.format(revision, revision)}
    assert served.client.delete("/backends/a", headers=headers).status_code == 412
    assert served.client.patch("/backends/a", json={"weight": 2}, headers=headers).status_code == 412
    assert served.client.put("/backends/a", json={"url": URL, "weight": 2}, headers=headers).status_code == 412
    assert served.client.get("/backends/a").json()["revision"] == revision


def test_several_tags(served: Served) -> None:
    """Of several tags one must be, or must not be, that of the backend; `*` is that of any."""
    for given in ('"1000000", "{}"', "*"):
        headers = {"if-match": given.format(add(served)["revision"])}
        assert served.client.put("/backends/a", json={"url": URL, "weight": 2}, headers=headers).status_code == 200
        headers = {"if-match": "*"}
        assert served.client.delete("/backends/a", headers=headers).status_code == 200
        assert served.client.put("/backends/a", json={"url": URL}, headers=headers).status_code == 412
    excluded = {"if-none-match": f'"{add(served)["revision"]}", "7"'}
    assert served.client.put("/backends/a", json={"url": URL, "weight": 3}, headers=excluded).status_code == 412
    assert served.client.put("/backends/b", json={"url": URL}, headers=excluded).status_code == 201
    assert served.client.put("/backends/b", json={"url": URL}, headers=excluded).status_code == 200


def test_put_of_another_id(served: Served) -> None:
    """A body that is of another backend than the path is a conflict; its own id may stand in it."""
    assert served.client.put("/backends/a", json={"id": "b", "url": URL}).status_code == 409
    assert served.client.put("/backends/a", json={"id": "a", "url": URL}).status_code == 201


def test_patch_changes_what_is_given(served: Served) -> None:
    """A merge patch changes single keys, removes those that are null, and leaves the rest."""
    add(served, labels={"zone": "eu", "tier": "1"}, metadata={"rack": "7"}, max_concurrency=4, weight=2)
    patch = {"name": "A", "labels": {"tier": None, "gpu": "h100"}, "max_concurrency": None, "priority": -1}
    answer = served.client.patch("/backends/a", json=patch, headers={"content-type": "application/merge-patch+json"})
    changed = answer.json()
    assert (answer.status_code, answer.headers["etag"]) == (200, f'"{changed["revision"]}"')
    assert changed["labels"] == {"zone": "eu", "gpu": "h100"}
    assert changed["metadata"] == {"rack": "7"}
    shown = [changed[name] for name in ("name", "max_concurrency", "weight", "priority")]
    assert shown == ["A", None, 2, -1]


def test_empty_patch_changes_nothing(served: Served) -> None:
    """A patch without fields takes no revision."""
    added = add(served)
    for patch in (b"{}", b'{"labels": {}}'):
        assert served.client.patch("/backends/a", content=patch, headers=JSON).json() == added


@pytest.mark.parametrize("field", ["name", "labels", "priority", "weight", "metadata"])
def test_only_some_fields_can_be_removed(served: Served, field: str) -> None:
    """Null for a field that every backend has is refused, and named."""
    added = add(served)
    answer = served.client.patch("/backends/a", json={field: None})
    assert (answer.status_code, [error["field"] for error in answer.json()["errors"]]) == (422, [field])
    assert served.client.get("/backends/a").json() == added


def test_patches_at_once_lose_nothing(served: Served) -> None:
    """Patches of different labels at the same time, of two gateways, are all kept: each depends on what is there."""
    add(served)

    def label(number: int) -> int:
        client = served.client if number % 2 else served.other
        return client.patch("/backends/a", json={"labels": {f"key-{number}": "x"}}).status_code

    with ThreadPoolExecutor(4) as pool:
        assert set(pool.map(label, range(24))) == {200}
    assert len(served.client.get("/backends/a").json()["labels"]) == 24


def test_patch_of_what_was_seen(served: Served) -> None:
    """With `If-Match` a patch of another state is refused, whether or not it merges."""
    revision = add(served)["revision"]
    assert served.client.patch("/backends/a", json={"weight": 5}, headers=etag(revision)).status_code == 200
    for patch in (b'{"weight": 6}', b'{"labels": {"k": "v"}}'):
        answer = served.client.patch("/backends/a", content=patch, headers=etag(revision) | JSON)
        assert answer.status_code == 412
    assert served.client.get("/backends/a").json()["weight"] == 5


def test_merged_labels_stay_within_limits(served: Served) -> None:
    """A patch that is small but makes too many labels is refused, and the field is named."""
    add(served, labels={f"old-{number}": "" for number in range(60)})
    answer = served.client.patch("/backends/a", json={"labels": {f"new-{number}": "" for number in range(60)}})
    assert (answer.status_code, answer.json()["errors"][0]["field"]) == (422, "labels")
    assert len(served.client.get("/backends/a").json()["labels"]) == 60


def test_delete_answers_with_what_was_removed(served: Served) -> None:
    """DELETE gives back the backend as it was; then there is none."""
    added = add(served)
    assert served.client.delete("/backends/a", headers=etag(added["revision"] + 1)).status_code == 412
    answer = served.client.delete("/backends/a", headers=etag(added["revision"]))
    assert (answer.status_code, answer.json()) == (200, added)
    assert served.client.delete("/backends/a").status_code == 404
    assert served.registry.backend_count(fresh=True) == 0


def test_draining_backend_gets_nothing_new(served: Served) -> None:
    """A drained backend finishes what it has; undrained it waits for its next check."""
    served.registry.add_backend(Backend(id="a", url=URL, models=[Model(id="m")], status=BackendStatus.HEALTHY))
    with served.registry.lease("m"):
        drained = served.client.post("/backends/a/drain")
        assert (drained.status_code, drained.json()["status"], drained.json()["pending_requests"]) == (
            200,
            "draining",
            1,
        )
        with pytest.raises(NoBackendAvailable):
            served.registry.acquire("m")
        assert served.client.post("/backends/a/undrain").json()["status"] == "unknown"


@pytest.mark.parametrize(
    ("method", "target"),
    [
        ("GET", "/backends/none"),
        ("PATCH", "/backends/none"),
        ("DELETE", "/backends/none"),
        ("POST", "/backends/none/drain"),
        ("POST", "/backends/none/undrain"),
    ],
)
def test_backend_that_is_not_there(served: Served, method: str, target: str) -> None:
    """404 with the id, for every method that needs a backend."""
    content = b'{"labels": {"k": "v"}}' if method == "PATCH" else b""
    answer = served.client.request(method, target, content=content, headers=JSON)
    assert (answer.status_code, answer.json()["detail"]) == (404, "backend not found: none")
