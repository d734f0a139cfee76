"""Those who want their copies brought up to date, and wait for the word that they are."""

from __future__ import annotations

from collections.abc import Iterator

from actors.actor import CallId
from actors.clock import Clock
from actors.errors import CallTimeout
from actors.frames import Sync
from actors.turns.answers import encode_answer, encode_failure


class Syncs:
    """The questions that are not answered yet.

    Args:
        clock: Where deadlines are read.

    Attributes:
        waiting: Their numbers and deadlines, by session.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self.waiting: dict[int, dict[int, float]] = {}
        self._given_up: list[CallId] = []

    def __bool__(self) -> bool:
        return bool(self.waiting or self._given_up)

    def ask(self, session: int, sync: Sync) -> None:
        """A session asks."""
        self.waiting.setdefault(session, {})[sync.number] = sync.deadline

    def answers(self, session: int, revision: int) -> list[bytes]:
        """The encoded Answers for a session whose copy is up to date.

        Args:
            session: Its number.
            revision: The latest that is stored.
        """
        return [encode_answer(number, None, revision) for number in self.waiting.pop(session, ())]

    def cancel(self, call: CallId) -> None:
        """Nobody waits for this answer any more. It is given all the same, because each number has one."""
        session, number = call
        asked = self.waiting.get(session)
        if asked is not None and asked.pop(number, None) is not None:
            self._given_up.append(call)
            if not asked:
                del self.waiting[session]

    def end(self, session: int) -> None:
        """A session is over."""
        self.waiting.pop(session, None)
        self._given_up = [call for call in self._given_up if call[0] != session]

    def tick(self) -> None:
        """Give up those whose time is over."""
        now = self._clock.monotonic()
        overdue = [
            (session, number)
            for session, asked in self.waiting.items()
            for number, deadline in asked.items()
            if deadline < now
        ]
        for call in overdue:
            self.cancel(call)

    def refusals(self, revision: int) -> Iterator[tuple[int, bytes]]:
        """Session and encoded Answer for each that was given up.

        Args:
            revision: The latest that is stored.
        """
        given_up, self._given_up = self._given_up, []
        for session, number in given_up:
            error = CallTimeout("nobody waits any more for the copy to be up to date; nothing was changed")
            yield session, encode_failure(number, error, revision)
