"""`actor-registry services`: who is registered with an address and a heartbeat, and changes of it."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
import typer

from registry.cli.changes import Change
from registry.cli.errors import WrongUse
from registry.cli.groups import group
from registry.cli.messages import understood
from registry.cli.options import AsJson, AsJsonLines, DataDir, Server, Since, call
from registry.cli.output import (
    listed,
    local_time,
    print_fields,
    print_json,
    print_json_line,
    print_line,
    print_table,
)
from registry.cli.watch import Watch
from registry.errors import InvalidField
from registry.state.service_records import ServiceView
from registry.texts import printable

if TYPE_CHECKING:
    from registry.services.requests import Request

TABLE = "services"

app = group("List (if no command is named), show, register, check, watch and remove services.")

Name = Annotated[str, typer.Argument(metavar="NAME", help="Name of the service.", show_default=False)]


class _Services(msgspec.Struct):
    services: list[ServiceView]
    timestamp: datetime


class _Changed(msgspec.Struct):
    service: ServiceView


class _Check(msgspec.Struct):
    service: str
    health_status: str
    is_healthy: bool


@app.command("list")
def list_services(
    *,
    status: Annotated[str | None, typer.Option(help="Only those of this status.")] = None,
    healthy: Annotated[
        bool | None,
        typer.Option("--healthy/--unhealthy", help="Only those that run and have a young heartbeat, or the others."),
    ] = None,
    server: Server = None,
    data_dir: DataDir = None,
    as_json: AsJson = False,
) -> None:
    """List services: all, or those to which everything applies that is given."""
    chosen = [] if status is None else [("status", status)]
    if healthy is not None:
        chosen.append(("healthy", "true" if healthy else "false"))
    with call(server, data_dir) as client:
        body = client.get("/services", chosen)
    if as_json:
        print_json(body)
        return
    found = understood(body, _Services)
    if not found.services:
        print_line("no services" + (" to which all of this applies" if chosen else ""))
        return
    now_s = found.timestamp.timestamp()
    print_table(
        ("name", "status", "healthy", "probed", "heard s ago", "models", "url"),
        [
            (
                one.name,
                one.status,
                _yes(one.is_healthy),
                one.health_status,
                f"{max(0.0, now_s - one.last_heartbeat):.0f}",
                listed(_models(one)),
                one.url,
            )
            for one in found.services
        ],
        numbers=("heard s ago",),
    )


@app.command("show")
def show_service(*, name: Name, server: Server = None, data_dir: DataDir = None, as_json: AsJson = False) -> None:
    """Show all that is known of one service."""
    with call(server, data_dir) as client:
        body = client.get(_about("get", name).path)
    if as_json:
        print_json(body)
        return
    one = understood(body, ServiceView)
    print_fields(
        [
            ("name", one.name),
            ("url", one.url),
            ("host", one.host),
            ("hostname", one.hostname),
            ("port", str(one.port)),
            ("status", one.status),
            ("healthy", _yes(one.is_healthy)),
            ("probed", one.health_status),
            ("heard", local_time(datetime.fromtimestamp(one.last_heartbeat, UTC))),
            ("registered", one.timestamp),
            *(("metadata", f"{key}={_shown(value)}") for key, value in sorted(one.metadata.items())),
        ]
    )


@app.command("register")
def register_service(
    *,
    name: Name,
    port: Annotated[int, typer.Option(min=1, max=65_535, help="Its TCP port.", show_default=False)],
    host: Annotated[str, typer.Option(help="Where it runs.")] = "127.0.0.1",
    url: Annotated[str | None, typer.Option(help="Its base address; http://HOST:PORT unless given.")] = None,
    status: Annotated[str, typer.Option(help="Only a running one counts as healthy.")] = "running",
    type: Annotated[
        str | None, typer.Option(metavar="TYPE", help="What it is; one that is openai-api is a backend too.")
    ] = None,
    model: Annotated[list[str] | None, typer.Option(metavar="ID", help="A model that it has; repeatable.")] = None,
    metadata: Annotated[str | None, typer.Option(metavar="JSON", help="Whatever else there is to say of it.")] = None,
    server: Server = None,
    data_dir: DataDir = None,
    as_json: AsJson = False,
) -> None:
    """Register a service, or replace the one of this name; without heartbeats it is removed after a while."""
    said = _metadata(metadata, type, model)
    request = _about("register", name, port=port, host=host, url=url, status=status, metadata=said)
    with call(server, data_dir) as client:
        body = client.change(request.method, request.path, msgspec.Raw(request.body or b""))
    if as_json:
        print_json(body)
        return
    one = understood(body, _Changed).service
    print_line(printable(f"registered {one.name} ({one.status}, {one.url})"))


@app.command("heartbeat")
def send_heartbeat(
    *,
    name: Name,
    status: Annotated[str | None, typer.Option(help="Its status from now on; it stays unless given.")] = None,
    server: Server = None,
    data_dir: DataDir = None,
    as_json: AsJson = False,
) -> None:
    """Say that a service is alive."""
    request = _about("heartbeat", name, status)
    with call(server, data_dir) as client:
        body = client.change(request.method, request.path, msgspec.Raw(request.body) if request.body else None)
    _tell(body, f"heard of {name}" + (f" ({status})" if status is not None else ""), as_json=as_json)


@app.command("check")
def check_service(*, name: Name, server: Server = None, data_dir: DataDir = None, as_json: AsJson = False) -> None:
    """Let the registry probe a service now; for a healthy one that is as good as a heartbeat."""
    with call(server, data_dir) as client:
        body = client.get(_about("check", name).path)
    if as_json:
        print_json(body)
        return
    found = understood(body, _Check)
    heard = "its heartbeat is young enough" if found.is_healthy else "it does not run, or its heartbeat is too old"
    print_line(printable(f"{found.service}: {found.health_status} ({heard})"))


@app.command("remove")
def remove_service(*, name: Name, server: Server = None, data_dir: DataDir = None, as_json: AsJson = False) -> None:
    """Remove a service, and the backend that only it has named."""
    request = _about("remove", name)
    with call(server, data_dir) as client:
        body = client.change(request.method, request.path)
    _tell(body, f"removed {name}", as_json=as_json)


@app.command("watch")
def watch_services(
    *, since: Since = None, server: Server = None, data_dir: DataDir = None, as_json: AsJsonLines = False
) -> None:
    """Print what becomes of services as it happens, until Ctrl-C, as `actor-registry watch`; heartbeats are no news."""
    for body in Watch(server, data_dir, since).changes():
        of_services = [row for row in body.get("rows", ()) if isinstance(row, dict) and row.get("table") == TABLE]
        if not of_services:
            continue
        body["rows"] = of_services
        if as_json:
            print_json_line(body)
        else:
            print_line(understood(body, Change).line())


def _about(method: str, *args: Any, **kwargs: Any) -> Request[Any]:
    """A request of the Python client, for what it says; it is sent as all commands send theirs."""
    from registry.services.requests import ServiceRequests  # noqa: PLC0415 - it imports what `--help` need not wait for

    try:
        request: Request[Any] = getattr(ServiceRequests, method).request(*args, **kwargs)
    except InvalidField as error:
        raise WrongUse(str(error)) from None
    return request


def _metadata(given: str | None, type: str | None, models: list[str] | None) -> dict[str, Any]:
    said: Any = {}
    if given is not None:
        try:
            said = msgspec.json.decode(given)
        except (msgspec.DecodeError, RecursionError) as error:
            raise WrongUse(f"--metadata: {error}") from None
        if not isinstance(said, dict):
            raise WrongUse('--metadata: must be a JSON object, such as \'{"zone": "a"}\'')
    for key, option, value in (("type", "--type", type), ("models", "--model", models)):
        if value:
            if key in said:
                raise WrongUse(f"{option} and {key!r} in --metadata exclude each other")
            said[key] = value
    return dict(said)


def _models(service: ServiceView) -> list[str]:
    models = service.metadata.get("models")
    return [one for one in models if isinstance(one, str)] if isinstance(models, list) else []


def _shown(value: Any) -> str:
    return value if isinstance(value, str) else msgspec.json.encode(value).decode()


def _yes(is_so: bool) -> str:
    return "yes" if is_so else "no"


def _tell(body: Any, done: str, *, as_json: bool) -> None:
    if as_json:
        print_json(body)
    else:
        print_line(printable(done))
