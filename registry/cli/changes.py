"""Changes of the registry, as people read them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any

import msgspec

from registry.cli.output import local_time
from registry.texts import printable

UNTOLD = frozenset({"last_health_check_s", "last_health_check", "revision"})
"""Fields that alter with every change and say nothing more than its own time and revision."""


class RowChange(msgspec.Struct):
    """What became of one row; see `registry.models.RowChange`."""

    table: str
    key: Any
    before: Any = None
    after: Any = None

    def __str__(self) -> str:
        key = self.key if isinstance(self.key, str) else msgspec.json.encode(self.key).decode()
        return f"{self.table.removesuffix('s')} {key}: {self._what()}"

    def _what(self) -> str:
        match self.before, self.after:
            case None, {"url": str(url)}:
                return f"added, {url}"
            case None, _:
                return "added"
            case _, None:
                return "removed"
            case dict(), dict():
                return ", ".join(_altered(self.before, self.after)) or "checked"
            case _:
                return f"{_value(self.before)} → {_value(self.after)}"


class Change(msgspec.Struct):
    """One durable change; see `registry.models.Change`."""

    revision: int
    at: datetime
    session: int
    by: str
    rows: list[RowChange]

    @property
    def who(self) -> str:
        """The process that made it, by name if it is known."""
        return self.by or f"session {self.session}"

    def cells(self) -> Iterator[tuple[str, str, str, str]]:
        """Revision, time, who and what: a line for each row that changed."""
        head = (str(self.revision), local_time(self.at), self.who)
        for what in map(str, self.rows):
            yield *head, what
            head = ("", "", "")

    def line(self) -> str:
        """The same on one line."""
        what = "; ".join(map(str, self.rows))
        return printable(f"{self.revision}  {local_time(self.at)}  {self.who}  {what}")


class Changes(msgspec.Struct):
    """The answer of `/history`."""

    changes: list[Change]


def _altered(before: Mapping[str, Any], after: Mapping[str, Any]) -> Iterator[str]:
    # `before` may hold only what was different.
    for field in before:
        old, new = before[field], after.get(field)
        if field in UNTOLD or old == new:
            continue
        if isinstance(old, dict) and isinstance(new, dict):
            yield from (f"{field}.{part}" for part in _altered(_wide(old, new), new))
        elif isinstance(old, list) and isinstance(new, list):
            yield f"{field} {_list_altered(old, new)}"
        else:
            yield f"{field} {_value(old)} → {_value(new)}"


def _wide(old: dict[str, Any], new: dict[str, Any]) -> dict[str, Any]:
    return old | {key: None for key in new if key not in old}


def _list_altered(old: list[Any], new: list[Any]) -> str:
    were, are = ({_name(item): item for item in items} for items in (old, new))
    signs = [
        *(f"+{name}" for name in are if name not in were),
        *(f"-{name}" for name in were if name not in are),
        *(f"~{name}" for name, item in are.items() if name in were and were[name] != item),
    ]
    return " ".join(signs) or "in another order"


def _name(item: Any) -> str:
    name = item.get("id") if isinstance(item, dict) else item
    return name if isinstance(name, str) else _value(item)


def _value(value: Any) -> str:
    if value is None:
        return "none"
    return value if isinstance(value, str) and value else msgspec.json.encode(value).decode()
