"""`actor-registry leases`, against a running server."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from registry.client import Registry
from registry.connection import connect
from registry.errors import LeaseNotFound
from tests.registry.cli.commands import Command, Served


@pytest.fixture
def joined(served: Served, command: Command) -> Iterator[Registry]:
    """A program that has joined the system, which has one backend."""
    assert command("backends", "add", "http://lease", "--model", "m", "--status", "healthy").code == 0
    with connect(served.directory) as registry:
        yield registry
    command("backends", "remove", "lease")


def test_life_of_a_lease(command: Command, joined: Registry) -> None:
    """A lease is listed with its holder, and an operator can take it back."""
    assert command("leases").stdout == "no leases\n"
    lease = joined.acquire("m")
    holder = f"attached pid {os.getpid()}"
    header, (*found, age, remaining) = command("leases").table()
    assert header[:4] == ["id", "backend", "model", "holder"]
    assert found == [str(lease.id), "lease", "m", holder]
    assert float(age) < float(remaining)
    (one,) = command("leases", "list", "--json").json()["leases"]
    assert (one["id"], one["backend"], one["model"], one["holder"]) == (lease.id, "lease", "m", holder)
    assert one["session"] > 0
    assert "1 in flight" in command("backends", "drain", "lease").stdout
    said = command("leases", "release", str(lease.id)).stdout
    assert said == f"released lease {lease.id} of {holder} on lease (m)\n"
    with pytest.raises(LeaseNotFound):
        joined.release(lease)
    assert command("leases", "release", str(lease.id)).sentence(1).startswith(f"lease not found: {lease.id}")


def test_leases_of_one_backend(command: Command, joined: Registry) -> None:
    """The list can be that of one backend."""
    lease = joined.acquire("m")
    (one,) = command("leases", "--backend", "lease", "--json").json()["leases"]
    assert one["id"] == lease.id
    assert command("leases", "--backend", "other", "--json").json() == {"leases": []}
    assert command("leases", "release", str(lease.id), "--json").json()["id"] == lease.id


@pytest.mark.usefixtures("served")
@pytest.mark.parametrize(("id", "code"), [("x", 2), ("99999999", 1), ("-1", 2), ("0", 1), ("9" * 30, 1)])
def test_wrong_lease(command: Command, id: str, code: int) -> None:
    """A number that no lease has is refused, and what is no number is a wrong use."""
    command("leases", "release", id).sentence(code)
