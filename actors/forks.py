"""What a forked child must not share with its parent, and is told to let go of.

A child that was forked has copies of all descriptors and locks of its parent: two processes would read one queue, a
lock may be held by a thread that is not there, and a lock on a directory would outlive the system. So whatever owns
such things is watched here, and lets go of them in each child before any other code runs in it.
"""

from __future__ import annotations

import os
import weakref
from collections.abc import Callable
from typing import Protocol

from actors.channel import Channel
from actors.errors import AttachFailed

Rejoin = Callable[[float], Channel]
"""Joins the system anew, within so many seconds."""


class Forkable(Protocol):
    """Something that lets go of what is its parent's."""

    def forked(self) -> None:
        """This process is a child that was just forked; no other thread runs.

        Copies of descriptors are closed, without a word to the other end; locks are made anew.
        """


class Lineage:
    """Processes that were forked from each other.

    Attributes:
        generation: How many forks lie between the first process and this one. What a process was given belongs to
            its generation.
    """

    def __init__(self) -> None:
        self.generation = 0
        self._watched: weakref.WeakSet[Forkable] = weakref.WeakSet()
        os.register_at_fork(after_in_child=self._forked)

    def watch(self, thing: Forkable) -> None:
        """Tell this thing of each fork, in the child, for as long as it lives."""
        self._watched.add(thing)

    def _forked(self) -> None:
        self.generation += 1
        for thing in list(self._watched):
            thing.forked()


LINEAGE = Lineage()
"""The one of this process; forks concern all of a process."""


def cannot_rejoin(timeout_s: float) -> Channel:  # noqa: ARG001 - a `Rejoin`
    """For what was made without a way to join anew."""
    raise AttachFailed("this process was forked, and its queue to the system is its parent's: it needs one of its own")
