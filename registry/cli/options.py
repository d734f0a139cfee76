"""The options that all commands share, and what they lead to."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from registry.cli.errors import WrongUse
from registry.cli.finding import DIRECTORY_VARIABLE, SERVER_VARIABLE, find_server

if TYPE_CHECKING:
    from registry.cli.client import Client

Server = Annotated[
    str | None,
    typer.Option(
        "--server",
        metavar="URL",
        help=f"Where the server is called; else the variable {SERVER_VARIABLE}, else what its data directory says.",
    ),
]
DataDir = Annotated[
    Path | None,
    typer.Option(
        "--data-dir",
        help=f"Data directory of a server on this machine; else the variable {DIRECTORY_VARIABLE}, else that of serve.",
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]
AsJsonLines = Annotated[bool, typer.Option("--json", help="Print one JSON object a line.")]
Since = Annotated[int | None, typer.Option("--since", help="Those after this revision too; from now on unless given.")]
Labels = Annotated[list[str] | None, typer.Option("--label", metavar="KEY=VALUE", help="A label; repeatable.")]
BackendId = Annotated[str, typer.Argument(metavar="ID", help="Id of the backend.", show_default=False)]


def call(server: str | None, data_dir: Path | None) -> Client:
    """A client of the server that a command is meant for; see `find_server`."""
    from registry.cli.client import Client  # noqa: PLC0415 - it imports what `--help` need not wait for

    return Client(find_server(server, data_dir))


def pairs(option: str, given: list[str] | None) -> dict[str, str]:
    """What `KEY=VALUE` options say.

    Raises:
        WrongUse: One is not of this form, or a key is named twice.
    """
    found: dict[str, str] = {}
    for one in given or ():
        key, equals, value = one.partition("=")
        if not key or not equals:
            raise WrongUse(f"{option} {one!r}: must be KEY=VALUE")
        if key in found:
            raise WrongUse(f"{option} {one!r}: {key!r} is named twice")
        found[key] = value
    return found
