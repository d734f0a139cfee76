"""The command and its subcommands. Whatever goes wrong, a user gets a sentence and never a traceback."""

from __future__ import annotations

import sys
from importlib.metadata import PackageNotFoundError, version
from typing import Annotated

import typer

from actors.errors import ActorsError
from registry.cli.serve import serve
from registry.errors import ConfigError

app = typer.Typer(
    name="actor-registry",
    help="The phone book and the switchboard for self-hosted AI servers.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)


def _version(wanted: bool) -> None:
    if wanted:
        try:
            installed = version("actor-registry")
        except PackageNotFoundError:
            installed = "(run from a checkout that is not installed)"
        typer.echo(f"actor-registry {installed}")
        raise typer.Exit


@app.callback()
def root(
    show_version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and end.")
    ] = False,
) -> None:
    """The phone book and the switchboard for self-hosted AI servers."""


app.command()(serve)


def run() -> int:
    """Run the command; returns the exit code: 0 fine, 1 it failed, 2 it was used wrongly."""
    try:
        app()
    except ConfigError as error:
        return _fail(str(error), 2)
    except ActorsError as error:
        return _fail(str(error), 1)
    return 0


def _fail(reason: str, code: int) -> int:
    print(f"actor-registry: {reason}", file=sys.stderr)  # noqa: T201 - this is the command line
    return code
