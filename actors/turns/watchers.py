"""Those who watch: each is told the steps after the revision it names, as soon as they are stored."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from itertools import islice
from typing import Any

import msgspec

from actors import frames
from actors.actor import CallId
from actors.clock import Clock
from actors.errors import CallError, CallTimeout, CommandInvalid, Compacted
from actors.frames import Watch
from actors.history import MAX_STEPS
from actors.journal import Journal, Step
from actors.turns.answers import MAX_ANSWER_BYTES, encode_answer, encode_failure

ANSWER_BYTES = 1024 * 1024
"""An answer ends with the step that makes it longer than this."""

LONGEST_BYTES = MAX_ANSWER_BYTES - 2 * ANSWER_BYTES
"""A longer step is not sent at all: it may not fit a message."""

KEPT_STEPS = 1_000
"""So many of the latest steps are kept in memory while somebody watches,"""

KEPT_BYTES = 4 * 1024 * 1024
"""or as many as have this length together."""

QUIET_TICKS = 20
"""After so many ticks in which nobody has watched nothing is kept any more."""


class _Encoded:
    """A step as it is sent."""

    __slots__ = ("frame", "revision")

    def __init__(self, revision: int, frame: bytes) -> None:
        self.revision = revision
        self.frame = frame


class Watchers:
    """Answers `Watch`, at the end of a turn, from what is stored and from nothing else.

    Args:
        journal: Where the older steps are read.
        clock: Where deadlines are read.

    Attributes:
        active: Whether somebody watches, or has lately.
    """

    def __init__(self, journal: Journal, clock: Clock) -> None:
        self._journal = journal
        self._clock = clock
        self._asked: dict[CallId, Watch] = {}
        self._waiting: dict[CallId, Watch] = {}
        self._given_up: list[CallId] = []
        self._latest: deque[_Encoded] = deque()
        self._latest_bytes = 0
        self._quiet = 0
        self.active = False

    @property
    def waiting(self) -> int:
        """How many watch and are not answered yet."""
        return len(self._asked) + len(self._waiting)

    def watch(self, session: int, watch: Watch) -> None:
        """A session asks; answered at the end of the turn, or of a later one."""
        self.active = True
        self._quiet = 0
        self._asked[session, watch.number] = watch

    def cancel(self, call: CallId) -> None:
        """Nobody waits for this answer any more. It is given all the same, because each number has one."""
        if self._waiting.pop(call, None) or self._asked.pop(call, None):
            self._given_up.append(call)

    def end(self, session: int) -> None:
        """A session is over."""
        for calls in (self._asked, self._waiting):
            for call in [call for call in calls if call[0] == session]:
                del calls[call]
        self._given_up = [call for call in self._given_up if call[0] != session]

    def tick(self) -> None:
        """Give up those whose time is over, and keep nothing for nobody."""
        if not self.active:
            return
        now = self._clock.monotonic()
        for call in [call for call, watch in self._waiting.items() if watch.deadline < now]:
            self.cancel(call)
        self._quiet += 1
        if self._quiet > QUIET_TICKS and not self.waiting and not self._given_up:
            self.active = False
            self._latest.clear()
            self._latest_bytes = 0

    def stored(self, steps: list[Step]) -> None:
        """A turn with these steps is stored."""
        if not (steps and self.active):
            return
        for step in steps:
            encoded = _Encoded(step.revision, _encode_step(step))
            self._latest.append(encoded)
            self._latest_bytes += len(encoded.frame)
        while len(self._latest) > KEPT_STEPS or self._latest_bytes > KEPT_BYTES:
            self._latest_bytes -= len(self._latest.popleft().frame)
        self._asked = {**self._waiting, **self._asked}
        self._waiting.clear()

    def answers(self, revision: int) -> Iterator[tuple[int, bytes]]:
        """Session and encoded Answer for each whose wait is over.

        Args:
            revision: The latest that is stored.
        """
        given_up, self._given_up = self._given_up, []
        for session, number in given_up:
            error = CallTimeout("nobody waits any more for what may change; nothing was changed")
            yield session, encode_failure(number, error, revision)
        asked, self._asked = self._asked, {}
        read = False
        for call, watch in asked.items():
            session, number = call
            if not self._is_in_memory(watch, revision):
                if read:
                    self._asked[call] = watch
                    continue
                read = True
            try:
                steps = self._steps(watch, revision)
            except CallError as error:
                yield session, encode_failure(number, error, revision)
                continue
            if steps or not watch.wait:
                self._waiting.pop(call, None)  # it may have been asked twice
                yield session, encode_answer(number, (revision, steps), revision)
            else:
                self._waiting[call] = watch

    @property
    def behind(self) -> bool:
        """Whether somebody is to be answered from the journal in the next turn: in each turn it is read once."""
        return bool(self._asked)

    def _is_in_memory(self, watch: Watch, revision: int) -> bool:
        since = max(0, revision - watch.limit) if watch.since is None else watch.since
        return since >= revision or self._keeps(since)

    def _keeps(self, since: int) -> bool:
        """Whether the steps after this revision are in memory."""
        return bool(self._latest) and self._latest[0].revision <= since + 1

    def _steps(self, watch: Watch, revision: int) -> list[msgspec.Raw]:
        limit = min(watch.limit, MAX_STEPS)
        if limit < 0:
            raise CommandInvalid("limit", f"must not be negative, not {limit}")
        if watch.since is None:
            return self._from(max(0, revision - watch.limit), limit, revision, clamp=True)
        if not 0 <= watch.since <= revision:
            raise CommandInvalid("since", f"must be 0 to {revision:,}, the latest revision, not {watch.since:,}")
        return self._from(watch.since, limit, revision)

    def _from(self, since: int, limit: int, revision: int, *, clamp: bool = False) -> list[msgspec.Raw]:
        """The steps after a revision, or from the first that is kept if `clamp`."""
        if since == revision or not limit:
            return []
        try:
            return _gathered(islice(self._after(since, revision), limit), since, revision)
        except Compacted as gone:
            if not clamp:
                raise
            return self._from(min(gone.oldest - 1, revision), limit, revision)

    def _after(self, since: int, revision: int) -> Iterator[_Encoded]:
        if self._keeps(since):
            return islice(self._latest, since + 1 - self._latest[0].revision, None)
        stored = (step for step in self._journal.history(since) if step.revision <= revision)
        return (_Encoded(step.revision, frames.encode(step)) for step in stored)


def _gathered(steps: Iterator[_Encoded], since: int, revision: int) -> list[msgspec.Raw]:
    """The first of these steps, without a gap, as many as fit an answer.

    Raises:
        Compacted: The first one is not kept, or is longer than any message: whoever watches must read everything.
    """
    gathered: list[msgspec.Raw] = []
    size = 0
    oldest = revision + 1
    for step in steps:
        too_long = len(step.frame) > LONGEST_BYTES
        if too_long or step.revision != since + 1:
            oldest = step.revision + too_long
            break
        gathered.append(msgspec.Raw(step.frame))
        since = step.revision
        size += len(step.frame)
        if size > ANSWER_BYTES:
            break
    if not gathered:
        raise Compacted(since, oldest)
    return gathered


def _encode_step(step: Step) -> bytes:
    changes: list[Any] = [(one.table.name, one.key, one.before, one.after) for one in step.changes]
    return frames.encode((step.revision, step.session, step.cause, step.wall_s, changes, step.by))
