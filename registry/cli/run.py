"""`actor-registry run`: start an AI server, keep it running, and keep the registry informed of it."""

from __future__ import annotations

import logging
import os
from pathlib import Path
from typing import Annotated

import typer

from registry.cli.errors import CommandFailed, NoServer, WrongUse
from registry.cli.finding import SERVER_VARIABLE, find_server
from registry.kinds import LogFormat

STDERR = 2


def run(  # noqa: PLR0917 - typer makes the flags from them; nobody passes them by position
    command: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="-- COMMAND ARG...",
            help="The AI server, without a shell. It stays in the foreground and listens at PORT, which stands in its "
            "environment as PORT; {port} in an argument becomes it.",
            show_default=False,
        ),
    ] = None,
    name: Annotated[
        str | None, typer.Option(help="Name in the registry; the AI server's own entry is NAME-server.")
    ] = None,
    port: Annotated[
        int | None, typer.Option(help="Port of the AI server; the babysitter itself listens at the next.")
    ] = None,
    registry: Annotated[
        str | None,
        typer.Option(
            metavar="URL",
            help=f"The registry; else the variable {SERVER_VARIABLE}, else the file's, else the server of the data "
            "directory on this machine.",
            show_default="http://127.0.0.1:8081",
        ),
    ] = None,
    host: Annotated[
        str | None,
        typer.Option(help="Name or address of this machine in the registry.", show_default="127.0.0.1"),
    ] = None,
    listen: Annotated[
        str | None,
        typer.Option(
            metavar="ADDRESS",
            help="Where the babysitter itself listens.",
            show_default="loopback if the host is, the host if it is an address, else 0.0.0.0",
        ),
    ] = None,
    heartbeat_interval: Annotated[
        float | None, typer.Option(metavar="S", help="Seconds between two heartbeats.", show_default="30")
    ] = None,
    max_restarts: Annotated[
        int | None,
        typer.Option(metavar="N", help="Restarts in a row; a life of 60 s gives all of them back.", show_default="10"),
    ] = None,
    restart_delay: Annotated[
        float | None,
        typer.Option(metavar="S", help="Seconds before the first restart; they double up to 60.", show_default="1"),
    ] = None,
    start_timeout: Annotated[
        float | None,
        typer.Option(metavar="S", help="Seconds that the server may take to be ready.", show_default="600"),
    ] = None,
    check_interval: Annotated[
        float | None, typer.Option(metavar="S", help="Seconds between two looks at the server.", show_default="5")
    ] = None,
    hang_timeout: Annotated[
        float | None,
        typer.Option(metavar="S", help="Seconds without an answer after which it is restarted.", show_default="60"),
    ] = None,
    config_file: Annotated[
        Path | None, typer.Option(metavar="FILE", help="A TOML file of the original babysitter; needs no COMMAND.")
    ] = None,
    log_format: Annotated[
        LogFormat, typer.Option(envvar="ACTOR_REGISTRY_LOG_FORMAT", help="How log lines look.")
    ] = LogFormat.TEXT,
) -> None:
    """Start an AI server, register it with its models, and keep it running until SIGTERM or Ctrl-C."""
    # These import a lot, which `--help` need not wait for.
    from registry.babysitter.babysitter import babysit  # noqa: PLC0415
    from registry.babysitter.errors import BabysitterError, CannotStart  # noqa: PLC0415
    from registry.babysitter.settings import DEFAULT_REGISTRY, load_settings  # noqa: PLC0415
    from registry.cli.client import KEY_VARIABLE, admin_key  # noqa: PLC0415
    from registry.log_writer import LogWriter  # noqa: PLC0415
    from registry.logs import LogSettings, configure  # noqa: PLC0415

    flags = {
        "command": command or None,
        "name": name,
        "port": port,
        "registry": registry or os.environ.get(SERVER_VARIABLE) or None,
        "host": host,
        "listen": listen,
        "heartbeat_interval": heartbeat_interval,
        "max_restarts": max_restarts,
        "restart_delay": restart_delay,
        "start_timeout": start_timeout,
        "check_interval": check_interval,
        "hang_timeout": hang_timeout,
    }
    settings = load_settings(config_file, flags, {"registry": _found() or DEFAULT_REGISTRY})
    # Whether or not somebody reads its log, the server is looked after.
    configure(LogSettings(log_format), "babysitter", LogWriter(STDERR))
    try:
        babysit(settings, admin_key() or None, frozenset({KEY_VARIABLE}))
    except CannotStart as error:
        raise WrongUse(str(error)) from None
    except BabysitterError as error:
        raise CommandFailed(str(error)) from None
    finally:
        logging.shutdown()  # what is said at the end comes after the log


def _found() -> str | None:
    """The server of the data directory on this machine; it may well be started later."""
    if os.environ.get(SERVER_VARIABLE):
        return None
    try:
        return find_server(None, None).url
    except NoServer:
        return None
