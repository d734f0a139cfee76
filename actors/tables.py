"""Tables of immutable records: the whole state of an actor.

Every write goes through `put` and `delete`, which note the record before and after. From these notes the runtime
journals a change, reverts it, and rebuilds the state in the owner's next life, for any actor and without its help.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, ValuesView
from typing import Any, Generic, TypeVar

import msgspec

K = TypeVar("K")
R = TypeVar("R")


class Change(msgspec.Struct, frozen=True, gc=False):
    """One record of one table, before and after; None stands for absent."""

    table: Table[Any, Any]
    key: Any
    before: Any
    after: Any


class Table(Generic[K, R]):
    """Records by key.

    Args:
        name: Its name in the journal.
        key: Type of the keys: a string, a number or a tuple of these.
        record: Type of the records: a frozen msgspec struct or a builtin type.
        durable: True if a change of it must outlive the machine; else it outlives only the owner process.
        saved: Whether a table that is not durable is written to the journal once a second all the same.
        on_change: Told each change (key, before, after), also when one is reverted or restored: keeps what is
            derived from the table, such as an index.

    Attributes:
        get: Gives the record of a key, or None.
        changes: What was done and is not stored yet.

    >>> table = Table("numbers", str, int, durable=False)
    >>> table.put("one", 1)
    >>> table.get("one")
    1
    >>> [(change.key, change.before, change.after) for change in table.changes]
    [('one', None, 1)]
    """

    __slots__ = (
        "_on_change",
        "_rows",
        "changes",
        "decode_key",
        "decode_record",
        "durable",
        "get",
        "name",
        "saved",
        "unsaved",
    )

    def __init__(
        self,
        name: str,
        key: type[K],
        record: type[R],
        *,
        durable: bool,
        saved: bool = False,
        on_change: Callable[[K, R | None, R | None], None] | None = None,
    ) -> None:
        self.name = name
        self.durable = durable
        self.saved = saved
        self.unsaved: set[K] | None = None  # the keys of changed rows, where somebody wants to know them
        self.changes: list[Change] = []
        self._rows: dict[K, R] = {}
        self.get: Callable[[K], R | None] = self._rows.get  # not a method around it: every command reads
        self._on_change = on_change
        self.decode_key = _converter(key)
        self.decode_record = _converter(record)

    def __contains__(self, key: K) -> bool:
        return key in self._rows

    def __len__(self) -> int:
        return len(self._rows)

    def __iter__(self) -> Iterator[K]:
        return iter(self._rows)

    def values(self) -> ValuesView[R]:
        """The records, in order of their first arrival."""
        return self._rows.values()

    def items(self) -> list[tuple[K, R]]:
        """Keys and records, in order of their first arrival."""
        return list(self._rows.items())

    def put(self, key: K, record: R) -> None:
        """Set a record."""
        before = self._rows.get(key)
        self._rows[key] = record
        self.changes.append(Change(self, key, before, record))
        if self.unsaved is not None:
            self.unsaved.add(key)
        if self._on_change is not None:
            self._on_change(key, before, record)

    def delete(self, key: K) -> None:
        """Remove a record that is there."""
        before = self._rows.pop(key)
        self.changes.append(Change(self, key, before, None))
        if self.unsaved is not None:
            self.unsaved.add(key)
        if self._on_change is not None:
            self._on_change(key, before, None)

    def restore(self, key: K, record: R | None) -> None:
        """Set or remove a record without noting it: what is restored was noted before."""
        before = self._rows.get(key)
        if record is None:
            self._rows.pop(key, None)
        else:
            self._rows[key] = record
        if self.unsaved is not None:
            self.unsaved.add(key)
        if self._on_change is not None and (before is not None or record is not None):
            self._on_change(key, before, record)


def _converter(type: Any) -> Callable[[Any], Any]:
    def convert(value: Any) -> Any:
        return msgspec.convert(value, type)

    return convert


def revert(changes: list[Change]) -> None:
    """Undo changes, last one first. The order of rows is not part of a table's meaning and may differ after."""
    for change in reversed(changes):
        change.table.restore(change.key, change.before)
