"""`actor-registry backends`: what is registered, and changes of it."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any

import msgspec
import typer

from registry.cli.errors import WrongUse
from registry.cli.groups import group
from registry.cli.messages import understood
from registry.cli.options import AsJson, BackendId, DataDir, Labels, Server, call, pairs
from registry.cli.output import listed, local_time, print_fields, print_json, print_line, print_table
from registry.kinds import BackendStatus, BackendType
from registry.texts import printable
from registry.urls import path_of

app = group("List (if no command is named), show, add, change and remove backends.")

Weight = Annotated[int | None, typer.Option(help="Share of requests against other backends; 1 unless given.")]
Priority = Annotated[int | None, typer.Option(help="Lower is preferred, where a policy looks at it.")]
MaxConcurrency = Annotated[int | None, typer.Option(help="Most requests in flight; no limit unless given.")]
Name = Annotated[str | None, typer.Option(help="For people; the id unless given.")]
IfRevision = Annotated[
    int | None, typer.Option("--if-revision", help="Only if the latest change of the backend is still this revision.")
]


class _Model(msgspec.Struct):
    id: str


class _Backend(msgspec.Struct):
    """What is shown of a backend; the fields are those of `registry.models.BackendView`."""

    id: str
    name: str
    url: str
    backend_type: str
    status: str
    models: list[_Model]
    pending_requests: int
    total_requests: int
    avg_latency_ms: int
    revision: int
    priority: int
    weight: int
    last_health_check: datetime
    discovery_source: str
    max_concurrency: int | None = None
    last_error: str | None = None
    labels: dict[str, str] = {}
    metadata: dict[str, str] = {}

    @property
    def load(self) -> str:
        """Requests in flight, and how many there may be."""
        return f"{self.pending_requests}" + (f"/{self.max_concurrency}" if self.max_concurrency is not None else "")

    @property
    def model_ids(self) -> list[str]:
        """What it has."""
        return [model.id for model in self.models]


class _Backends(msgspec.Struct):
    backends: list[_Backend]


@app.command("list")
def list_backends(
    *,
    model: Annotated[str | None, typer.Option(help="Only those that have this model.")] = None,
    status: Annotated[BackendStatus | None, typer.Option(help="Only those of this status.")] = None,
    type: Annotated[BackendType | None, typer.Option(help="Only those that run this software.")] = None,
    label: Labels = None,
    server: Server = None,
    data_dir: DataDir = None,
    as_json: AsJson = False,
) -> None:
    """List backends: all, or those to which everything applies that is given."""
    chosen = [
        (key, value) for key, value in (("model", model), ("status", status), ("type", type)) if value is not None
    ]
    for key, value in pairs("--label", label).items():
        if ":" in key:
            raise WrongUse(f"--label {key!r}: a label with a colon in its key cannot be asked for")
        chosen.append(("label", f"{key}:{value}"))
    with call(server, data_dir) as client:
        body = client.get("/backends", chosen)
    if as_json:
        print_json(body)
        return
    backends = understood(body, _Backends).backends
    if not backends:
        print_line("no backends" + (" to which all of this applies" if chosen else ""))
        return
    print_table(
        ("id", "status", "type", "pending", "requests", "latency ms", "models", "url"),
        [
            (
                one.id,
                one.status,
                one.backend_type,
                one.load,
                str(one.total_requests),
                str(one.avg_latency_ms),
                listed(one.model_ids),
                one.url,
            )
            for one in backends
        ],
        numbers=("pending", "requests", "latency ms"),
    )


@app.command("show")
def show_backend(*, id: BackendId, server: Server = None, data_dir: DataDir = None, as_json: AsJson = False) -> None:
    """Show all that is known of one backend."""
    with call(server, data_dir) as client:
        body = client.get(_path(id))
    if as_json:
        print_json(body)
        return
    one = understood(body, _Backend)
    shown = [
        ("id", one.id),
        ("name", one.name),
        ("url", one.url),
        ("type", one.backend_type),
        ("status", one.status + (f": {one.last_error}" if one.last_error else "")),
        ("checked", local_time(one.last_health_check)),
        ("models", listed(one.model_ids, len(one.models))),
        ("pending", one.load),
        ("requests", str(one.total_requests)),
        ("latency", f"{one.avg_latency_ms} ms"),
        ("priority", str(one.priority)),
        ("weight", str(one.weight)),
        *(("label", f"{key}={value}") for key, value in sorted(one.labels.items())),
        *(("metadata", f"{key}={value}") for key, value in sorted(one.metadata.items())),
        ("known by", one.discovery_source),
        ("revision", str(one.revision)),
    ]
    print_fields(shown)


@app.command("add")
def add_backend(
    *,
    url: Annotated[str, typer.Argument(metavar="URL", help="Base address, without /v1.", show_default=False)],
    id: Annotated[
        str | None, typer.Option(help="Its id; what stands after the scheme of the URL unless given.")
    ] = None,
    name: Name = None,
    type: Annotated[BackendType, typer.Option(help="What software it runs.")] = BackendType.GENERIC,
    model: Annotated[list[str] | None, typer.Option(metavar="ID", help="A model that it has; repeatable.")] = None,
    status: Annotated[BackendStatus, typer.Option(help="Only a healthy one gets requests.")] = BackendStatus.UNKNOWN,
    priority: Priority = None,
    weight: Weight = None,
    max_concurrency: MaxConcurrency = None,
    label: Labels = None,
    server: Server = None,
    data_dir: DataDir = None,
    as_json: AsJson = False,
) -> None:
    """Add a backend."""
    optional = {
        "id": id,
        "name": name,
        "priority": priority,
        "weight": weight,
        "max_concurrency": max_concurrency,
    }
    body = {
        "url": url,
        "backend_type": type,
        "status": status,
        "models": [{"id": one} for one in model or ()],
        "labels": pairs("--label", label),
        **_given(optional),
    }
    with call(server, data_dir) as client:
        added = client.change("POST", "/backends", body)
    _tell(added, "added {}", as_json=as_json)


@app.command("remove")
def remove_backend(
    *,
    id: BackendId,
    if_revision: IfRevision = None,
    server: Server = None,
    data_dir: DataDir = None,
    as_json: AsJson = False,
) -> None:
    """Remove a backend at once; drain it first if its requests are to finish under the registry's eyes."""
    with call(server, data_dir) as client:
        removed = client.change("DELETE", _path(id), headers=_condition(if_revision))
    _tell(removed, "removed {}", as_json=as_json, revision=False)  # that of its removal is not in the answer


@app.command("drain")
def drain_backend(*, id: BackendId, server: Server = None, data_dir: DataDir = None, as_json: AsJson = False) -> None:
    """Let a backend finish what it has, and give it nothing new."""
    with call(server, data_dir) as client:
        drained = client.change("POST", _path(id, "drain"))
    _tell(drained, "draining {}", as_json=as_json, status=False)


@app.command("undrain")
def undrain_backend(*, id: BackendId, server: Server = None, data_dir: DataDir = None, as_json: AsJson = False) -> None:
    """Let a drained backend have requests again, as soon as it is found healthy."""
    with call(server, data_dir) as client:
        undrained = client.change("POST", _path(id, "undrain"))
    _tell(undrained, "no longer draining {}", as_json=as_json)


@app.command("update")
def update_backend(
    *,
    id: BackendId,
    name: Name = None,
    priority: Priority = None,
    weight: Weight = None,
    max_concurrency: MaxConcurrency = None,
    unlimited: Annotated[bool, typer.Option("--unlimited", help="Take the limit of requests in flight away.")] = False,
    label: Labels = None,
    remove_label: Annotated[
        list[str] | None, typer.Option(metavar="KEY", help="Take a label away; repeatable.")
    ] = None,
    if_revision: IfRevision = None,
    server: Server = None,
    data_dir: DataDir = None,
    as_json: AsJson = False,
) -> None:
    """Change what is given of a backend, and leave the rest."""
    if unlimited and max_concurrency is not None:
        raise WrongUse("--unlimited and --max-concurrency exclude each other")
    patch = _given({"name": name, "priority": priority, "weight": weight, "max_concurrency": max_concurrency})
    if unlimited:
        patch["max_concurrency"] = None
    labels: dict[str, str | None] = {**pairs("--label", label)}
    for key in remove_label or ():
        if key in labels:
            raise WrongUse(f"--remove-label {key!r}: the same label is given by --label")
        labels[key] = None
    if labels:
        patch["labels"] = labels
    if not patch:
        raise WrongUse("nothing to change is given; `backends update --help` lists what can be changed")
    with call(server, data_dir) as client:
        changed = client.change("PATCH", _path(id), patch, _condition(if_revision))
    _tell(changed, "changed {}", as_json=as_json)


def _path(id: str, *more: str) -> str:
    if not id:
        raise WrongUse("the id of a backend must not be empty")
    return path_of("backends", id, *more)


def _given(options: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in options.items() if value is not None}


def _condition(revision: int | None) -> dict[str, str]:
    return {} if revision is None else {"if-match": f'"{revision}"'}


def _tell(body: Any, done: str, *, as_json: bool, status: bool = True, revision: bool = True) -> None:
    """Say what was done to a backend, as the server has answered.

    Args:
        body: The answer.
        done: What was done, with `{}` for the id.
        as_json: Whether the answer is printed instead.
        status: Whether its status is news.
        revision: Whether its revision is that of what was done.
    """
    if as_json:
        print_json(body)
        return
    one = understood(body, _Backend)
    facts = [one.status] if status else []
    if one.pending_requests:
        facts.append(f"{one.pending_requests} in flight")
    if revision:
        facts.append(f"revision {one.revision}")
    print_line(printable(f"{done.format(one.id)} ({', '.join(facts)})"))
