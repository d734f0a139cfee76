"""A session as the owner's loop sees it."""

from __future__ import annotations

import select
from collections import deque

import msgspec

from actors.channel import Channel
from actors.frames import Acked, Ask, Batch, Hello, ToOwner

UNSENT_BYTES = 32 * 1024 * 1024
"""A session that leaves this much unread is not served until it has caught up."""

FRAME_BYTES = 64
"""About what a frame costs besides its command and its answer."""

DECODED_BYTES = 16
"""So many bytes of a message are taken apart in the time in which one is applied."""


class Pace(msgspec.Struct, frozen=True):
    """How much is done at a time, in bytes of commands and answers.

    Attributes:
        slice_bytes: For one session before the next one's turn, and before a look whether somebody new waits.
        turn_bytes: For all together before it is stored and answered.
    """

    slice_bytes: int
    turn_bytes: int


class Member:
    """A session.

    Attributes:
        session: Its number.
        channel: The owner's end of its queue.
        fd: The descriptor of that.
        greeted: Whether it has said Hello to this owner; what it said before was meant for another one.
        left: Whether it has said farewell.
        gone: Whether its process is dead; what it said last is still to be done.
        says_much: Whether its latest message was long, or of several frames.
        paused: Whether it is not served because it does not read.
        unread: A long message that waits for its turn.
        backlog: What it has said and is not done yet.
        misunderstood: How many of its messages made no sense.
        events: What is waited for at its queue.
    """

    __slots__ = (
        "backlog",
        "channel",
        "events",
        "fd",
        "gone",
        "greeted",
        "left",
        "misunderstood",
        "paused",
        "says_much",
        "session",
        "unread",
    )

    def __init__(self, session: int, channel: Channel) -> None:
        self.session = session
        self.channel = channel
        self.fd = channel.fileno()
        self.greeted = self.left = self.gone = self.paused = self.says_much = False
        self.unread: bytes | None = None
        self.backlog: deque[ToOwner] = deque()
        self.misunderstood = 0
        self.events = select.EPOLLIN

    @property
    def backlog_bytes(self) -> int:
        """About how much it has said that is not done yet."""
        return len(self.unread or b"") + len(self.backlog) * FRAME_BYTES

    @property
    def is_full(self) -> bool:
        """Whether far too much waits for it to read."""
        return self.channel.unsent_bytes >= UNSENT_BYTES


def cost_of(frame: ToOwner) -> int:
    """About what a frame costs, in bytes.

    >>> cost_of(Batch(1, 0.0, 0, False, [msgspec.Raw(b"12345")] * 2))
    202
    """
    if isinstance(frame, Ask):
        return FRAME_BYTES + len(frame.command)
    if isinstance(frame, Batch):
        return FRAME_BYTES + sum(len(command) + FRAME_BYTES for command in frame.commands)
    return FRAME_BYTES * (1 + len(frame.answered)) if isinstance(frame, Acked | Hello) else FRAME_BYTES
