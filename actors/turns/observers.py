"""Those who want to hear of what was stored without having asked for it to be done."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from actors.actor import CallId
from actors.clock import Clock
from actors.frames import Follow, Sync, Watch
from actors.journal import Journal
from actors.turns.publisher import Publisher
from actors.turns.turn import Turn
from actors.turns.watchers import Watchers
from actors.views import View


class Observers:
    """All of them. As long as there is none, a turn pays for one look at `active`.

    Args:
        journal: Where older steps are read.
        views: What can be copied.
        clock: Where deadlines are read.

    Attributes:
        active: Whether there is one.
        watchers: Those who watch.
        publisher: Those who keep a copy.
    """

    def __init__(self, journal: Journal, views: Sequence[View[Any, Any]], clock: Clock) -> None:
        self.watchers = Watchers(journal, clock)
        self.publisher = Publisher(views, clock)
        self.active = False

    def hear(self, session: int, frame: Watch | Follow | Sync) -> None:
        """A session wants to hear of something."""
        match frame:
            case Watch():
                self.watch(session, frame)
            case Follow():
                self.follow(session, frame)
            case Sync():
                self.sync(session, frame)

    def watch(self, session: int, watch: Watch) -> None:
        """A session asks what has changed."""
        self.watchers.watch(session, watch)
        self.active = True

    def follow(self, session: int, follow: Follow) -> None:
        """A session wants a copy of the views."""
        self.publisher.follow(session, follow)
        self.active = True

    def sync(self, session: int, sync: Sync) -> None:
        """A session wants its copy brought up to date."""
        self.publisher.syncs.ask(session, sync)
        self.active = True

    def cancel(self, call: CallId) -> None:
        """Nobody waits for this answer any more."""
        if self.active:
            self.watchers.cancel(call)
            self.publisher.syncs.cancel(call)

    def end(self, session: int) -> None:
        """A session is over."""
        if self.active:
            self.watchers.end(session)
            self.publisher.end(session)

    def tick(self) -> None:
        """Called about twice a second."""
        if self.active:
            self.watchers.tick()
            self.publisher.syncs.tick()
            self.active = self.watchers.active or self.publisher.active

    def stored(self, turn: Turn) -> None:
        """This turn is stored."""
        self.watchers.stored(turn.steps)
        if self.publisher.subscribers:
            self.publisher.stored(turn)

    def speak(self, out: dict[int, list[bytes]], revision: int) -> None:
        """Add to what leaves at the end of a turn.

        Args:
            out: The encoded frames, by session.
            revision: The latest that is stored.
        """
        for session, answer in self.watchers.answers(revision):
            out.setdefault(session, []).append(answer)
        if self.publisher.active:
            self.publisher.speak(out, revision)
