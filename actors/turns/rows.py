"""Rows of views, as they are sent to those who keep copies."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import msgspec

from actors import frames
from actors.channel import DEFAULT_LIMIT
from actors.frames import Rows
from actors.turns.recent import Noted
from actors.views import View

LONGEST_ROW_BYTES = DEFAULT_LIMIT - 1024 * 1024
"""A longer row fits no message: as long as there is one, nobody can have a copy."""

Row = tuple[int, Any]
"""Number of a view, and key."""


class TooLong(Exception):
    """A row is longer than any message."""


def pieces(views: Sequence[View[Any, Any]], noted: Iterable[Noted[Row]], limit: int) -> Iterator[list[Rows]]:
    """Rows as they are now, in as many pieces as it takes.

    Args:
        views: All views, by their numbers.
        noted: The rows.
        limit: A piece ends with the row that makes it longer than so many bytes.

    Raises:
        TooLong: One is longer than any message.
    """
    rows: dict[int, Rows] = {}
    size = 0
    for (number, key), _, arrived in noted:
        view = views[number]
        row = frames.encode((key, view.get(key)))
        if len(row) > LONGEST_ROW_BYTES:
            raise TooLong
        of_view = rows.get(number)
        if of_view is None:
            of_view = rows[number] = Rows(view.type.name, [], [])
        (of_view.arrived if arrived else of_view.changed).append(msgspec.Raw(row))
        size += len(row)
        if size > limit:
            yield list(rows.values())
            rows = {}
            size = 0
    if rows:
        yield list(rows.values())


def in_place(noted: list[Noted[Row]], position: int) -> list[Noted[Row]]:
    """What has changed after a position: first what keeps its place since then, then in order what does not."""
    kept = [Noted(one.thing, one.at, 0) for one in noted if one.arrived <= position]
    return kept + sorted((one for one in noted if one.arrived > position), key=lambda one: one.arrived)
