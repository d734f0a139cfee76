"""Where durable changes go: the contract between the owner and a store."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Protocol

import msgspec

from actors.tables import Change


class Loaded(msgspec.Struct, frozen=True):
    """What a journal holds when it is opened.

    Attributes:
        rows: Table name, key and record of each row, as builtin types.
        revision: Number of the latest durable change.
        turn: Number of the latest turn that had durable changes, and its session-log record; None after
            `forget_turn`.
    """

    rows: Iterable[tuple[str, Any, Any]]
    revision: int
    turn: tuple[int, bytes] | None


class Journal(Protocol):
    """Durable tables. One process writes, in one transaction a turn."""

    def load(self) -> Loaded:
        """Everything stored."""

    def commit(self, changes: Sequence[Change], revision: int, turn: int, record: bytes) -> None:
        """Store a turn, wholly or not at all.

        Raises:
            StorageUnavailable: Nothing of it was stored.
        """

    def forget_turn(self) -> None:
        """The system starts anew: the last turn of its former life has no meaning any more."""

    def close(self) -> None:
        """Finish, leaving everything in the file."""


class NoJournal:
    """For an actor without durable tables."""

    def load(self) -> Loaded:
        """Nothing."""
        return Loaded((), 0, None)

    def commit(self, changes: Sequence[Change], revision: int, turn: int, record: bytes) -> None:
        """Take note of nothing."""

    def forget_turn(self) -> None:
        """Forget nothing."""

    def close(self) -> None:
        """Do nothing."""
