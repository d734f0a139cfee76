"""How the owner logs: the lines of `registry.logs`.

Made without the library of that, which would double the time in which an owner starts after another one has died.
"""

from __future__ import annotations

import logging
from datetime import UTC, datetime

import msgspec

from registry.kinds import LogFormat
from registry.texts import printable

PROCESS = "owner"


class JsonLines(logging.Formatter):
    """One JSON object an event, with the fields that the other processes' lines have."""

    def format(self, record: logging.LogRecord) -> str:
        """The line of an event."""
        line = {
            "event": record.getMessage(),
            "level": record.levelname.lower(),
            "timestamp": _timestamp(record),
            "process": PROCESS,
        }
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return msgspec.json.encode(line).decode()


class TextLines(logging.Formatter):
    """One line an event, as the other processes write it; a traceback follows on lines of its own."""

    def format(self, record: logging.LogRecord) -> str:
        """The line of an event."""
        level = record.levelname.lower()
        line = f"{_timestamp(record)} [{level:<9}] {printable(record.getMessage()):<30} process={PROCESS}"
        return f"{line}\n{self.formatException(record.exc_info)}" if record.exc_info else line


def _timestamp(record: logging.LogRecord) -> str:
    return datetime.fromtimestamp(record.created, UTC).isoformat().replace("+00:00", "Z")


def log_to_stderr(form: LogFormat | None) -> None:
    """Send the log of this process to standard error.

    Args:
        form: How a line looks in a server; None for the owner of a user's program, whose supervisor logs so too.
    """
    if form is None:
        logging.basicConfig(format="%(levelname)s %(name)s: %(message)s", level=logging.WARNING)
        return
    handler = logging.StreamHandler()
    handler.setFormatter(JsonLines() if form is LogFormat.JSON else TextLines())
    logging.basicConfig(handlers=[handler], level=logging.INFO, force=True)
