"""What of an actor's state other processes may keep a copy of: views, each of records by key."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Generic, TypeVar

import msgspec

from actors.tables import Change, Table

K = TypeVar("K")
R = TypeVar("R")


class ViewType(msgspec.Struct, frozen=True):
    """What the owner and the processes with a copy must know alike of a view.

    Attributes:
        name: Its name.
        key: Type of its keys.
        record: Type of its records.
        durable: Whether all that it shows is durable: then it is the same as long as the revision is.
        lazy: Whether its changes are told only to who asks for them with `sync`. For what changes often and is seldom
            looked at; its order means nothing, and it cannot be durable as well.
    """

    name: str
    key: Any
    record: Any
    durable: bool
    lazy: bool = False

    def __post_init__(self) -> None:
        if self.durable and self.lazy:
            raise ValueError(f"the view {self.name!r} cannot be both durable and lazy: an answer has what is durable")


class View(Generic[K, R]):
    """A view as the owner has it: nothing but ways to look at the tables.

    Args:
        type: What it is.
        keys_of: For each table that it shows something of, by name, the keys of the view that a change touches.
        get: The record of a key, or None.
        all_keys: Gives them, in their order.
        ordered_by: The table whose order of keys is also the view's; None if the order means nothing.
    """

    def __init__(
        self,
        type: ViewType,
        keys_of: Mapping[str, Callable[[Change], Iterable[K]]],
        get: Callable[[K], R | None],
        all_keys: Callable[[], Iterable[K]],
        ordered_by: Table[K, Any] | None = None,
    ) -> None:
        self.type = type
        self.keys_of = keys_of
        self.get = get
        self.all_keys = all_keys
        self.ordered_by = ordered_by

    @classmethod
    def of_table(cls, type: ViewType, table: Table[K, R]) -> View[K, R]:
        """The view that shows a table as it is."""
        return cls(type, {table.name: lambda change: (change.key,)}, table.get, lambda: table, table)
