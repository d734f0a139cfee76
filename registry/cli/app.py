"""The command and its subcommands. Whatever goes wrong, a user gets a sentence and never a traceback."""

from __future__ import annotations

import os
import sys
from io import TextIOWrapper
from typing import Annotated

import typer

from actors.errors import ActorsError
from registry.cli import backends, leases, services
from registry.cli.errors import CommandFailed
from registry.cli.history import history
from registry.cli.interrupts import INTERRUPTED
from registry.cli.run import run as run_server
from registry.cli.serve import serve
from registry.cli.status import status
from registry.cli.watch import watch
from registry.errors import ConfigError
from registry.texts import printable
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
# What follows COMMAND is its own, whatever it looks like.
app.command("run", context_settings={"allow_interspersed_args": False})(run_server)
app.command()(status)
app.add_typer(backends.app, name="backends")
app.add_typer(leases.app, name="leases")
app.add_typer(services.app, name="services")
app.command()(history)
app.command()(watch)


def run() -> int:
    """Run the command; returns the exit code: 0 fine, 1 it failed, 2 it was used wrongly, 3 there is no server."""
    _have_standard_streams()
    if isinstance(sys.stdout, TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # not every terminal has every character
    try:
        code = app(standalone_mode=False)
    except typer.Abort:
        return INTERRUPTED
    except (typer.TyperException, CommandFailed, ConfigError, ActorsError, OSError, UnicodeEncodeError) as error:
        reason, code = _told(error)
        print(f"actor-registry: {reason}", file=sys.stderr)  # noqa: T201 - this is the command line
    return code if isinstance(code, int) else 0


def _have_standard_streams() -> None:
    """Open those that were closed: a socket or a file could otherwise get the number to which errors are written."""
    while (fd := os.open(os.devnull, os.O_RDWR)) <= 2:
        os.set_inheritable(fd, True)
    os.close(fd)
    if sys.stderr is None:
        sys.stderr = os.fdopen(2, "w", closefd=False)


def _told(error: Exception) -> tuple[str, int]:
    """What the user is told of an error, and the exit code."""
    match error:
        case typer.TyperException():
            # The errors of the command line itself can say which flag they speak of.
            describe = getattr(error, "format_message", error.__str__)
            return describe().replace("Value error, ", ""), 2
        case CommandFailed():
            return printable(str(error)), error.exit_code
        case ConfigError():
            return str(error), 2
        case UnicodeEncodeError():
            # The bytes of an argument that are no UTF-8 come as characters that cannot be sent.
            return f"{error.object!r} is no text: arguments must be UTF-8", 2
        case OSError():
            # Such as a full disk under the output: the rest of it is not tried again when the process ends.
            sys.stdout = None
            return error.strerror or str(error), 1
        case _:
            return str(error), 1
