"""`actor-registry leases`: who holds what."""

from __future__ import annotations

from typing import Annotated

import msgspec
import typer

from registry.cli.groups import group
from registry.cli.messages import understood
from registry.cli.options import AsJson, DataDir, Server, call
from registry.cli.output import print_json, print_line, print_table
from registry.texts import printable
from registry.urls import path_of

app = group("List the requests in flight (if no command is named), and give back what a holder does not.")


class _Lease(msgspec.Struct):
    """What is shown of a lease; the fields are those of `registry.models.LeaseView`."""

    id: int
    backend: str
    model: str
    holder: str
    age_s: float
    remaining_s: float


class _Leases(msgspec.Struct):
    leases: list[_Lease]


@app.command("list")
def list_leases(
    *,
    backend: Annotated[str | None, typer.Option(metavar="ID", help="Only those of this backend.")] = None,
    server: Server = None,
    data_dir: DataDir = None,
    as_json: AsJson = False,
) -> None:
    """List the leases: each is a request in flight."""
    with call(server, data_dir) as client:
        body = client.get("/leases", [] if backend is None else [("backend", backend)])
    if as_json:
        print_json(body)
        return
    leases = understood(body, _Leases).leases
    if not leases:
        print_line("no leases")
        return
    print_table(
        ("id", "backend", "model", "holder", "age s", "ends in s"),
        [
            (str(one.id), one.backend, one.model, one.holder, f"{one.age_s:.1f}", f"{one.remaining_s:.1f}")
            for one in leases
        ],
        numbers=("id", "age s", "ends in s"),
    )


@app.command("release")
def release_lease(
    *,
    id: Annotated[int, typer.Argument(metavar="ID", help="Id of the lease.", show_default=False)],
    server: Server = None,
    data_dir: DataDir = None,
    as_json: AsJson = False,
) -> None:
    """Take a lease back; its holder is not asked, and what it still sends is not stopped."""
    with call(server, data_dir) as client:
        body = client.change("DELETE", path_of("leases", id))
    if as_json:
        print_json(body)
        return
    one = understood(body, _Lease)
    print_line(printable(f"released lease {one.id} of {one.holder or 'nobody known'} on {one.backend} ({one.model})"))
