"""`/leases` and `/status`, against a real registry."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest

from registry import Backend, BackendStatus, Model
from registry.errors import LeaseNotFound
from registry.version import installed_version
from tests.polling import until
from tests.registry.api.conftest import Served


def add(served: Served, id: str) -> None:
    """Add a healthy backend with a model of its own."""
    models = [Model(id=f"model-of-{id}")]
    served.registry.add_backend(Backend(id=id, url=f"http://{id}", models=models, status=BackendStatus.HEALTHY))


def test_who_holds_what(served: Served) -> None:
    """`/leases` lists the requests in flight, all of them or those on one backend."""
    add(served, "a")
    add(served, "b")
    with served.registry.lease("model-of-a") as first, served.registry.lease("model-of-b") as second:
        leases = served.client.get("/leases").json()["leases"]
        assert [(lease["id"], lease["backend"], lease["model"]) for lease in leases] == [
            (first.id, "a", "model-of-a"),
            (second.id, "b", "model-of-b"),
        ]
        assert 0 <= leases[0]["age_s"] < leases[0]["remaining_s"]
        on_b = served.client.get("/leases", params={"backend": "b"}).json()["leases"]
        assert [lease["id"] for lease in on_b] == [second.id]
    assert served.client.get("/leases").json() == {"leases": []}


def test_lease_is_taken_back_once(served: Served) -> None:
    """An operator takes a lease from whoever holds it; the holder's release and a second time find none."""
    add(served, "a")
    lease = served.registry.acquire("model-of-a")
    answer = served.client.delete(f"/leases/{lease.id}")
    assert (answer.status_code, answer.json()["id"], answer.json()["backend"]) == (200, lease.id, "a")
    assert served.client.get("/backends/a").json()["pending_requests"] == 0
    assert served.client.delete(f"/leases/{lease.id}").status_code == 404
    with pytest.raises(LeaseNotFound):
        served.registry.release(lease)


@pytest.mark.parametrize("id", ["0", "-1", "x", "1.5", "1.0", "1_0", str(2**63)])
def test_number_of_a_lease_has_limits(served: Served, id: str) -> None:
    """What cannot be the number of a lease is refused, and the field is named."""
    answer = served.client.delete(f"/leases/{id}")
    assert (answer.status_code, answer.json()["errors"][0]["field"]) == (422, "id")


def test_status_in_figures(served: Served) -> None:
    """`/status` says what runs, how far it is and how much is going on."""
    add(served, "a")
    served.client.post("/backends", json={"url": "http://b"})
    for name, word in (("s", "running"), ("t", "stopped")):
        served.registry.register_service(name, host="h", port=1, hostname="h", url="http://h", status=word)
    with served.registry.lease("model-of-a"):
        status = served.client.get("/status").json()
    assert status == {
        "version": installed_version(),
        "epoch": 1,
        "revision": served.registry.revision,
        "backends": {
            "healthy": 1,
            "unhealthy": 0,
            "unknown": 1,
            "draining": 0,
            "warming": 0,
            "rate_limited": 0,
            "misconfigured": 0,
        },
        "services": {"registered": 2, "healthy": 1},
        "leases": 1,
        "waiting": 0,
        "sessions": 4,
    }


def test_who_waits_is_counted(served: Served) -> None:
    """`/status` counts the requests that stand in line while all backends of their model are busy."""
    add(served, "a")
    assert served.client.patch("/backends/a", json={"max_concurrency": 1}).status_code == 200

    def waiting() -> int:
        return int(served.client.get("/status").json()["waiting"])

    with ThreadPoolExecutor(1) as pool:
        with served.registry.lease("model-of-a"):
            second = pool.submit(served.registry.acquire, "model-of-a", wait=True, timeout=20)
            until(lambda: waiting() == 1, "the second one waits")
        served.registry.release(second.result(20))
    assert waiting() == 0
