"""The command and its subcommands. Whatever goes wrong, a user gets a sentence and never a traceback."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from actors.errors import ActorsError
from registry.cli.serve import serve
from registry.errors import ConfigError
from registry.version import installed_version

app = typer.Typer(
    name="actor-registry",
    help="The phone book and the switchboard for self-hosted AI servers.",
    pretty_exceptions_enable=False,
)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"actor-registry {installed_version()}")
        raise typer.Exit


@app.callback(invoke_without_command=True)
def root(
    context: typer.Context,
    show_version: Annotated[  # noqa: ARG001 - its callback does it
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and end.")
    ] = False,
) -> None:
    """The phone book and the switchboard for self-hosted AI servers."""
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())
        raise typer.Exit(2)


app.command()(serve)


def run() -> int:
    """Run the command; returns the exit code: 0 fine, 1 it failed, 2 it was used wrongly."""
    try:
        code = app(standalone_mode=False)
    except typer.TyperException as error:
        # The errors of the command line itself can say which flag they speak of.
        describe = getattr(error, "format_message", error.__str__)
        return _fail(describe().replace("Value error, ", ""), 2)
    except typer.Abort:
        return 130
    except ConfigError as error:
        return _fail(str(error), 2)
    except ActorsError as error:
        return _fail(str(error), 1)
    return code if isinstance(code, int) else 0


def _fail(reason: str, code: int) -> int:
    print(f"actor-registry: {reason}", file=sys.stderr)  # noqa: T201 - this is the command line
    return code
