"""Where durable changes go: the contract between the owner and a store."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Protocol

import msgspec

from actors.history import StoredStep
from actors.tables import Change

SavedRow = tuple[str, Any, Any]
"""Table, key and record (None: deleted)."""


class Step(msgspec.Struct, frozen=True):
    """One durable change: what a command, or an event, did to durable tables.

    Attributes:
        revision: Its number.
        session: Who did it; 0 for the owner itself.
        cause: What it was: the name of the command's type, `tick` or `session_ended`.
        wall_s: When, in seconds since 1970 (UTC).
        changes: What changed, in order.
        by: The name of the session's process; empty if nobody knows it any more.
    """

    revision: int
    session: int
    cause: str
    wall_s: float
    changes: Sequence[Change]
    by: str = ""


class Loaded(msgspec.Struct, frozen=True):
    """What a journal holds when it is opened.

    Attributes:
        rows: Table name, key and record of each row, as builtin types or as those of the table.
        revision: Number of the latest durable change.
        turn: Number of the latest turn that had durable changes, and its session-log record; None if there was none.
    """

    rows: Iterable[tuple[str, Any, Any]]
    revision: int
    turn: tuple[int, bytes] | None


class Journal(Protocol):
    """Durable tables, and saved ones. One process writes, in one transaction a turn."""

    def load(self) -> Loaded:
        """Everything stored."""

    def commit(self, steps: Sequence[Step], turn: int, record: bytes, saved: Sequence[SavedRow] = ()) -> None:
        """Store a turn, wholly or not at all.

        Args:
            steps: Its durable changes, at least one, by ascending revision.
            turn: Its number.
            record: Its session-log record.
            saved: The rows of saved tables that it has changed besides.

        Raises:
            StorageUnavailable: It failed; `holds` tells whether the turn was stored all the same.
        """

    def save(self, rows: Sequence[SavedRow]) -> None:
        """Write rows of saved tables, without a turn; raises `StorageUnavailable`."""

    def holds(self, turn: int) -> bool:
        """Open the store anew and look whether this turn is the latest one in it.

        Raises:
            StorageUnavailable: It cannot be read at the moment.
        """

    def history(self, since: int) -> Iterator[StoredStep]:
        """The steps after a revision, in order, as far as they are kept.

        Whoever takes a few of them pays for little more, and may let go of the rest.

        Raises:
            Compacted: The history does not reach back that far.
            StorageUnavailable: It cannot be read.
        """

    def close(self) -> None:
        """Finish, leaving everything in the file."""


class NoJournal:
    """For an actor without durable tables."""

    def load(self) -> Loaded:
        """Nothing."""
        return Loaded((), 0, None)

    def commit(self, steps: Sequence[Step], turn: int, record: bytes, saved: Sequence[SavedRow] = ()) -> None:
        """Take note of nothing."""

    def save(self, rows: Sequence[SavedRow]) -> None:
        """Take note of nothing."""

    def holds(self, turn: int) -> bool:  # noqa: ARG002 - the contract's
        """It forgets every turn at once."""
        return False

    def history(self, since: int) -> Iterator[StoredStep]:  # noqa: ARG002 - the contract's
        """Nothing is kept."""
        return iter(())

    def close(self) -> None:
        """Do nothing."""
