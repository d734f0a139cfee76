"""Where a turn goes to outlive the owner: durable changes into the journal, everything else into the session log.

A turn is stored in one piece. If it has durable changes, its record stands in the journal's transaction too, so that a
successor which finds the journal one turn ahead of the log knows what the log lacks.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import msgspec

from actors.errors import StorageUnavailable
from actors.journal import Journal, SavedRow, Step
from actors.ranges import Range
from actors.session_log import Record, SessionLog, decode_record, encode_record
from actors.statistics import Durations

COMPACT_BYTES = 8 * 1024 * 1024
"""A session log longer than this, and than twice its last snapshot, is replaced by a snapshot."""


class InDoubt(Exception):
    """A turn could not be stored, or it was, and nobody can look: the journal cannot be read either."""


class _Record(msgspec.Struct, frozen=True, array_like=True):
    """`session_log.Record` as it is encoded: the changes are so already."""

    turn: int
    answers: list[tuple[int, int, int, bytes]]
    changes: list[msgspec.Raw]
    ended: list[int]
    sessions: list[tuple[int, list[Range]]]


class Ledger:
    """Journal and session log of one owner.

    Args:
        journal: Where durable changes are stored.
        log: Where everything else is that a next owner must know.
        handover: Makes a fresh log known to the supervisor.

    Attributes:
        turn: Number of the latest turn stored.
        compactions: How often the log was replaced by a snapshot.
        journal_times: How long commits took.
    """

    def __init__(self, journal: Journal, log: SessionLog, handover: Callable[[SessionLog], None]) -> None:
        self._journal = journal
        self._log = log
        self._handover = handover
        self._compact_at = COMPACT_BYTES
        self.turn = 0
        self.compactions = 0
        self.journal_times = Durations()

    @property
    def log_bytes(self) -> int:
        """Length of the session log."""
        return self._log.size

    def load(
        self, restore: Callable[[str, Any, Any], None], saved: Callable[[], list[SavedRow]] = list
    ) -> tuple[int, Iterator[Record]]:
        """Restore what is durable.

        Args:
            restore: Told table, key and record of each row.
            saved: Asked then for the rows of saved tables among them, with which a first owner begins.

        Returns:
            The number of the latest durable change, and the records of the former lives, to be read to the end.
        """
        loaded = self._journal.load()
        for name, key, record in loaded.rows:
            restore(name, key, record)
        return loaded.revision, self._records(loaded.turn, saved())

    def _records(self, ahead: tuple[int, bytes] | None, saved: list[SavedRow]) -> Iterator[Record]:
        empty = True
        for record in self._log.records():
            empty = False
            self.turn = record.turn
            yield record
        if empty:
            # Nothing is left of a former life but the journal. Its turns are counted on, so that the number of the
            # one it ends with never comes again; and this record tells a successor that it is one.
            self.turn = 0 if ahead is None else ahead[0]
            first = Record(self.turn, [], [saved] if saved else [], [])
            self._log.append(encode_record(first))
            yield first
        elif ahead is not None and ahead[0] == self.turn + 1:
            # The former owner died between its transaction and its log: the transaction carries the record.
            self.keep(ahead[1])
            yield decode_record(ahead[1])

    def record(
        self,
        answers: list[tuple[int, int, int, bytes]],
        changes: list[msgspec.Raw],
        ended: list[int],
        joined: list[int],
    ) -> bytes:
        """The encoded record of the next turn."""
        return encode_record(_Record(self.turn + 1, answers, changes, ended, [(session, []) for session in joined]))

    def store(self, steps: Sequence[Step], record: bytes, saved: Sequence[SavedRow] = ()) -> None:
        """Store the next turn, wholly or not at all.

        Args:
            steps: Its durable changes.
            record: Its record.
            saved: What it has changed of saved tables; written if there are durable changes.

        Raises:
            StorageUnavailable: The journal did not take it; nothing of it is stored.
            InDoubt: The journal did not say, and it cannot be read: `look` again later.
        """
        if steps:
            self._commit(steps, record, saved)
        self.keep(record)

    def _commit(self, steps: Sequence[Step], record: bytes, saved: Sequence[SavedRow]) -> None:
        start = time.perf_counter()
        try:
            self._journal.commit(steps, self.turn + 1, record, saved)
        except StorageUnavailable as error:
            try:
                stands = self.look()
            except StorageUnavailable as unreadable:
                raise InDoubt(str(unreadable)) from error
            if not stands:
                raise
        finally:
            self.journal_times.note(time.perf_counter() - start)

    def look(self) -> bool:
        """Whether the journal holds the turn after the latest one stored.

        Raises:
            StorageUnavailable: It cannot be read at the moment.
        """
        return self._journal.holds(self.turn + 1)

    def keep(self, record: bytes) -> None:
        """Add the next turn to the session log."""
        self._log.append(record)
        self.turn += 1

    @property
    def wants_compaction(self) -> bool:
        """Whether the log has grown so long that a snapshot is shorter."""
        return self._log.size > self._compact_at

    def compact(
        self,
        answers: Iterable[tuple[int, int, int, bytes]],
        rows: list[tuple[str, Any, Any]],
        sessions: list[tuple[int, list[Range]]],
    ) -> None:
        """Replace the log by a snapshot of what it says; see `Record`."""
        fresh = SessionLog.create()
        fresh.append(encode_record(Record(self.turn, list(answers), [rows], [], sessions)))
        self._handover(fresh)
        self._log.close()
        self._log = fresh
        self._compact_at = max(COMPACT_BYTES, 2 * fresh.size)
        self.compactions += 1

    def close(self) -> None:
        """Close the journal and this process's descriptor of the log."""
        self._journal.close()
        self._log.close()
