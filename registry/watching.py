"""Watching the durable changes, and reading those of the past, for both faces."""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncIterator, Iterator
from typing import Self

from actors.aio import AsyncClient
from actors.client import Client
from actors.errors import CallTimeout
from actors.history import Watched
from registry.errors import InvalidField
from registry.models import Change

ASK_AGAIN_S = 60.0
"""After so long without a change the owner is asked anew; nobody notices."""

MAX_HISTORY = 10_000
"""Most changes that are read at once."""


class Changes(Iterator[Change]):
    """Every durable change after a revision; `next` waits for the next one.

    While it waits, other threads may use the registry. After an exception, such as a `KeyboardInterrupt`, it may be
    used on: nothing is lost.

    Args:
        client: Whom to ask.
        since: The revision; None for the latest at this moment.
    """

    def __init__(self, client: Client, since: int | None) -> None:
        self._client = client
        self._since = client.watch(None, limit=0, wait=False).revision if since is None else since
        self._ready: deque[Change] = deque()

    @property
    def revision(self) -> int:
        """That of the latest change handed out: `since` of another watch that goes on from here."""
        return self._since

    def __next__(self) -> Change:
        while not self._ready:
            try:
                self._ready += _changes(self._client.watch(self._since, timeout=ASK_AGAIN_S))
            except CallTimeout:
                continue
        change = self._ready.popleft()
        self._since = change.revision
        return change


class AsyncChanges(AsyncIterator[Change]):
    """Every durable change after a revision; see `Changes`. What waits for the next one may be cancelled.

    Args:
        client: Whom to ask.
        since: The revision; None for the latest when the first change is asked for.
    """

    def __init__(self, client: AsyncClient, since: int | None) -> None:
        self._client = client
        self._since = since
        self._ready: deque[Change] = deque()

    @property
    def revision(self) -> int | None:
        """That of the latest change handed out; None if that is not known yet."""
        return self._since

    async def __anext__(self) -> Change:
        if self._since is None:
            self._since = (await self._client.watch(None, limit=0, wait=False)).revision
        while not self._ready:
            try:
                self._ready += _changes(await self._client.watch(self._since, timeout=ASK_AGAIN_S))
            except CallTimeout:
                continue
        change = self._ready.popleft()
        self._since = change.revision
        return change

    def __aiter__(self) -> Self:
        return self


class HistoryReading:
    """Reads changes of the past, one answer after the other.

    Args:
        since: The revision after which they begin; None for the latest ones.
        limit: Most of them.

    Attributes:
        changes: What was read.
        since: Where the next answer shall begin.
        wanted: How many are still wanted.

    Raises:
        InvalidField: `limit` is out of its limits.
    """

    def __init__(self, since: int | None, limit: int) -> None:
        if not 1 <= limit <= MAX_HISTORY:
            raise InvalidField("limit", f"must be 1 to {MAX_HISTORY:,}, not {limit:,}")
        self.since = since
        self.wanted = limit
        self.changes: list[Change] = []

    def take(self, watched: Watched) -> None:
        """Add an answer."""
        self.changes += _changes(watched)
        self.wanted -= len(watched.steps)
        if not watched.steps or watched.steps[-1].revision >= watched.revision:
            self.wanted = 0
        else:
            self.since = watched.steps[-1].revision


def _changes(watched: Watched) -> list[Change]:
    return [Change.of(step) for step in watched.steps]
