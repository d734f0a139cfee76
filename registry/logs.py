"""How the processes of a server log: one line an event on standard error, as text or as JSON."""

from __future__ import annotations

import logging
import sys

import msgspec
import structlog

from registry.kinds import LogFormat


class LogSettings(msgspec.Struct, frozen=True):
    """What is logged, and how.

    Attributes:
        format: How a line looks.
        level: From which level on, as in `logging`.
    """

    format: LogFormat = LogFormat.TEXT
    level: int = logging.INFO


def configure(settings: LogSettings, process: str, handler: logging.Handler | None = None) -> None:
    """Send the log of this process to standard error.

    Args:
        settings: What and how.
        process: The process's name, a field of every line.
        handler: What writes the lines there; whoever logs does, unless it is given.
    """

    def name_process(_: object, __: str, event: structlog.types.EventDict) -> structlog.types.EventDict:
        event["process"] = process
        return event

    shared: list[structlog.types.Processor] = [
        structlog.stdlib.add_log_level,
        structlog.stdlib.ExtraAdder(),
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        name_process,
    ]
    last: list[structlog.types.Processor] = (
        [structlog.processors.format_exc_info, structlog.processors.JSONRenderer()]
        if settings.format is LogFormat.JSON
        # No local variables in tracebacks: they may hold what users write, and keys.
        else [
            structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty(), exception_formatter=structlog.dev.plain_traceback)
        ]
    )
    formatter = structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=shared,
        processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *last],
    )
    handler = handler or logging.StreamHandler()
    handler.setFormatter(formatter)
    logging.basicConfig(handlers=[handler], level=settings.level, force=True)
    logging.getLogger("httpx2").setLevel(logging.WARNING)
    logging.getLogger("httpcore2").setLevel(logging.WARNING)
