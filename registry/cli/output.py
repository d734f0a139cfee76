"""What commands print: tables and lines for people, JSON for programs."""

from __future__ import annotations

import json
import sys
from collections.abc import Collection, Iterable, Sequence
from datetime import datetime
from typing import Any

from registry.texts import printable

UNBOUNDED = 1_000_000
"""Width of a table for a program, which is to get each cell whole and on one line."""


def print_line(text: str) -> None:
    """Print a line, at once: it may be read by a program that waits for it."""
    print(text, flush=True)  # noqa: T201 - this is the command line


def print_note(text: str) -> None:
    """Say something that is no result."""
    print(f"actor-registry: {text}", file=sys.stderr, flush=True)  # noqa: T201 - this is the command line


def print_json(value: Any) -> None:
    """Print a JSON document, in ASCII, which every terminal and program can take."""
    print_line(json.dumps(value, indent=2))


def print_json_line(value: Any) -> None:
    """Print a JSON object on one line."""
    print_line(json.dumps(value))


def print_table(columns: Sequence[str], rows: Iterable[Sequence[str]], numbers: Collection[str] = ()) -> None:
    """Print a table; what does not fit a terminal is folded, never cut.

    Args:
        columns: The heads; none are shown if all are empty.
        rows: The cells, one for each column.
        numbers: Those columns that are set to the right.
    """
    # It takes a while to load, and JSON does not need it.
    from rich.console import Console  # noqa: PLC0415
    from rich.table import Table  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415

    console = Console(highlight=False)
    if not console.is_terminal:
        console.width = UNBOUNDED
    table = Table(box=None, pad_edge=False, header_style="bold", show_header=any(columns))
    for column in columns:
        table.add_column(column, overflow="fold", justify="right" if column in numbers else "left")
    for row in rows:
        table.add_row(*(Text(printable(cell)) for cell in row))
    with console.capture() as printed:
        console.print(table)
    print_line("\n".join(line.rstrip() for line in printed.get().splitlines()))


def print_fields(fields: Iterable[tuple[str, str]]) -> None:
    """Print what is known of one thing, one name and value a line."""
    print_table(("", ""), fields)


def local_time(at: datetime) -> str:
    """An instant in the time of this machine, to the second."""
    return at.astimezone().strftime("%Y-%m-%d %H:%M:%S")


def listed(names: Sequence[str], most: int = 3) -> str:
    """Some names on one line, and how many more there are.

    >>> listed(["a", "b", "c", "d", "e"])
    'a, b, c and 2 more'
    """
    more = len(names) - most
    return ", ".join(names[:most]) + (f" and {more} more" if more > 0 else "")
