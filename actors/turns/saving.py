"""Saved tables: not durable, but written to the journal now and then, so that little is lost with the whole system."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from typing import Any

from actors.errors import StorageUnavailable
from actors.journal import Journal, SavedRow
from actors.tables import Change, Table

logger = logging.getLogger(__name__)

EVERY_S = 1.0
"""How often changed rows are written."""


class Saving:
    """Knows which rows of saved tables the journal does not have as they are.

    Args:
        tables: The tables that are saved.
        journal: Where they are written.
    """

    def __init__(self, tables: Iterable[Table[Any, Any]], journal: Journal) -> None:
        self._tables = {table.name: table for table in tables}
        self._journal = journal
        self._found: dict[str, dict[Any, Any]] = {name: {} for name in self._tables}
        self._due_s = 0.0
        self._fails = False

    # -- the beginning of a life -----------------------------------------------------------------------------

    def found(self, name: str, key: Any, record: Any) -> bool:
        """A row is read from the journal; whether it is one of a saved table.

        Such a row is set aside: only the first owner of a system begins with it, the others have newer ones in the
        session log.
        """
        table = self._tables.get(name)
        if table is None:
            return False
        self._found[name][table.decode_key(key)] = table.decode_record(record)
        return True

    def rows(self) -> list[SavedRow]:
        """The rows of saved tables that were found, for a first owner."""
        return [(name, key, record) for name, rows in self._found.items() for key, record in rows.items()]

    def begin(self) -> None:
        """The state is rebuilt; note where it differs from what was found."""
        for name, table in self._tables.items():
            found = self._found[name]
            rows = dict(table.items())
            table.unsaved = {key for key in found.keys() | rows.keys() if found.get(key) != rows.get(key)}
        self._found.clear()

    # -- later -----------------------------------------------------------------------------------------------

    def tick(self, now_s: float) -> None:
        """Write what has changed, once a second."""
        if now_s >= self._due_s:
            self._due_s = now_s + EVERY_S
            self.save()

    def among(self, changes: Iterable[Change]) -> list[SavedRow]:
        """The rows of saved tables among what a turn has changed, as they are now."""
        touched = {(change.table.name, change.key) for change in changes if change.table.saved}
        return [(name, key, self._tables[name].get(key)) for name, key in touched]

    def stored(self, rows: Iterable[SavedRow]) -> None:
        """These are in the journal as they are now."""
        for name, key, _ in rows:
            unsaved = self._tables[name].unsaved
            if unsaved is not None:
                unsaved.discard(key)

    def save(self) -> None:
        """Write what has changed. If it cannot be written it is tried again the next time."""
        rows = [(name, key, table.get(key)) for name, table in self._tables.items() for key in table.unsaved or ()]
        if not rows:
            return
        try:
            self._journal.save(rows)
        except StorageUnavailable as error:
            if not self._fails:
                logger.warning("counts cannot be saved at the moment: %s", error)
            self._fails = True
            return
        self._fails = False
        for table in self._tables.values():
            table.unsaved = set()
