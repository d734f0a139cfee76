"""A session that keeps a copy, as the owner knows it."""

from __future__ import annotations

from collections.abc import Iterator

from actors.frames import Follow
from actors.turns.recent import Noted
from actors.turns.rows import Row


class Subscriber:
    """A session that keeps a copy.

    Attributes:
        follow: What it has asked for.
        lasting_at: What it has been sent of the durable views, as a number of `Recent`.
        passing_at: The same of the others,
        lazy_at: and of the lazy ones.
        revision: That of its copy.
        complete: Whether it has a whole copy.
        rest: What is to be sent of the present round of its snapshot; None if it has not begun.
        rounds: How many rounds there were.
        stuck_at: The number of the durable change at which nothing could be sent, because a row was too long.
        spoken_to: Whether it was sent something since the last `beat`.
    """

    def __init__(self, follow: Follow) -> None:
        self.follow = follow
        self.lasting_at = self.passing_at = self.lazy_at = self.revision = self.rounds = 0
        self.complete = self.spoken_to = False
        self.rest: Iterator[Noted[Row]] | None = None
        self.stuck_at: int | None = None

    def begin_anew(self) -> None:
        """The snapshot starts over."""
        self.complete = False
        self.rest = None
        self.rounds = 0
