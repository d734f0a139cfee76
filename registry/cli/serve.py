"""`actor-registry serve`: run the server."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from registry.cli.interrupts import interrupts_raised
from registry.errors import ConfigError
from registry.kinds import Durability, LogFormat


def serve(  # noqa: PLR0917 - typer makes the flags from them; nobody passes them by position
    config: Annotated[
        Path | None, typer.Option("--config", envvar="ACTOR_REGISTRY_CONFIG", help="A YAML file with settings.")
    ] = None,
    host: Annotated[
        str | None, typer.Option(envvar="ACTOR_REGISTRY_HOST", help="Address to listen on.", show_default="127.0.0.1")
    ] = None,
    port: Annotated[
        int | None,
        typer.Option(envvar="ACTOR_REGISTRY_PORT", help="TCP port; 0 takes a free one.", show_default="8081"),
    ] = None,
    gateways: Annotated[
        int | None, typer.Option(envvar="ACTOR_REGISTRY_GATEWAYS", help="Gateway processes.", show_default="2")
    ] = None,
    data_dir: Annotated[
        Path | None,
        typer.Option(
            envvar="ACTOR_REGISTRY_DATA_DIR",
            help="Where durable state lives.",
            show_default="actor-registry in the XDG state directory, ~/.local/state",
        ),
    ] = None,
    ephemeral: Annotated[
        bool | None, typer.Option("--ephemeral", help="Keep state in a temporary directory, removed at the end.")
    ] = None,
    durability: Annotated[
        Durability | None,
        typer.Option(
            envvar="ACTOR_REGISTRY_DURABILITY",
            help="What an answered change outlives: any process, or the loss of power too.",
            show_default="process",
        ),
    ] = None,
    recover: Annotated[
        bool,
        typer.Option("--recover", help="Keep what is readable of a damaged journal, and the damaged file beside it."),
    ] = False,
    backend: Annotated[
        list[str] | None,
        typer.Option(metavar="URL", help="A backend's base address; repeatable. Its models are asked from it."),
    ] = None,
    health_interval: Annotated[
        float | None,
        typer.Option(
            envvar="ACTOR_REGISTRY_HEALTH_INTERVAL",
            metavar="SECONDS",
            help="Time between two probes of a backend or service.",
            show_default="30",
        ),
    ] = None,
    health_timeout: Annotated[
        float | None,
        typer.Option(
            envvar="ACTOR_REGISTRY_HEALTH_TIMEOUT",
            metavar="SECONDS",
            help="Longest wait for the answer to a probe.",
            show_default="5",
        ),
    ] = None,
    cleanup_interval: Annotated[
        float | None,
        typer.Option(
            envvar="ACTOR_REGISTRY_CLEANUP_INTERVAL",
            metavar="SECONDS",
            help="Time between two removals of services that send no heartbeats any more.",
            show_default="60",
        ),
    ] = None,
    log_format: Annotated[
        LogFormat | None,
        typer.Option(envvar="ACTOR_REGISTRY_LOG_FORMAT", help="How log lines look.", show_default="text"),
    ] = None,
) -> None:
    """Serve the gateway and the registry until SIGTERM or Ctrl-C."""
    # Both import a lot, which `--help` need not wait for, and the settings may be wrong.
    from registry.config import load_config  # noqa: PLC0415

    settings = load_config(
        config,
        {
            "host": host,
            "port": port,
            "gateways": gateways,
            "data_dir": data_dir,
            "ephemeral": ephemeral,
            "durability": durability,
            "backends": [{"url": url} for url in backend or ()],
            "health_interval_s": health_interval,
            "health_timeout_s": health_timeout,
            "cleanup_interval_s": cleanup_interval,
            "log_format": log_format,
        },
        os.environ,
    )
    if recover and settings.ephemeral:
        raise ConfigError("recover and ephemeral exclude each other: there is nothing to recover in a new directory")
    from registry.server import serve as serve_with  # noqa: PLC0415

    with interrupts_raised():
        serve_with(settings, recover=recover)
