"""What leaves the owner: answers that share packets, and never a wait for whoever shall read them."""

from __future__ import annotations

import contextlib
import select
from collections.abc import Iterable

import msgspec

from actors import frames
from actors.errors import QueueClosed
from actors.turns.members import Member

PACKET_BYTES = 48 * 1024
"""Answers share a message up to about this size."""

_RESYNC = frames.encode([frames.Resync()])


class Mail:
    """Sends to sessions.

    Args:
        epoll: Where it is waited for room in a queue that is full.

    Attributes:
        held: The answers that are held back.
    """

    def __init__(self, epoll: select.epoll) -> None:
        self._epoll = epoll
        self.held: dict[Member, list[bytes]] = {}

    def hold(self, member: Member, answers: list[bytes]) -> None:
        """Keep answers until there are more of them, or the session has no more to say."""
        held = self.held.setdefault(member, [])
        held += answers
        if sum(map(len, held)) >= PACKET_BYTES:
            self.answer(member, [])

    def answer(self, member: Member, answers: list[bytes]) -> None:
        """Send what was held back for a session, and these answers; or forget them if it has ended."""
        if self.held and member in self.held:
            answers = self.held.pop(member) + answers
        if len(answers) == 1:
            self.post(member, frames.ONE + answers[0])
            return
        together: list[msgspec.Raw] = []
        size = 0
        for answer in answers:
            if together and size + len(answer) > PACKET_BYTES:
                self.post(member, frames.encode(together))
                together = []
                size = 0
            together.append(msgspec.Raw(answer))
            size += len(answer)
        self.post(member, frames.encode(together))

    def let_go(self, member: Member) -> None:
        """Send what was held back for a session: what follows must not overtake it."""
        if self.held and member in self.held:
            self.answer(member, [])

    def forget(self, member: Member) -> None:
        """Its session has ended."""
        self.held.pop(member, None)

    def post(self, member: Member, message: bytes) -> None:
        """Send a message, or keep what the queue does not take now."""
        try:  # `suppress` takes longer, and every answer comes by here
            member.channel.post(message)
        except QueueClosed:
            return  # epoll tells the same with EPOLLHUP
        if member.channel.unsent_bytes or member.events != select.EPOLLIN:
            self.flush(member)

    def offer(self, member: Member, messages: Iterable[bytes]) -> None:
        """Send updates after whatever was held back, or a note that they are missing; see `Channel.offer`."""
        self.let_go(member)
        with contextlib.suppress(QueueClosed):
            for message in messages:
                member.channel.offer(message, _RESYNC)
            self.flush(member)

    def flush(self, member: Member) -> None:
        """Send what waits; wait for room if there is more, and stop reading from one that has far too much."""
        try:
            member.channel.flush()
        except QueueClosed:
            return
        events = 0 if member.is_full or member.paused else select.EPOLLIN
        if member.channel.unsent_bytes or member.paused:
            events |= select.EPOLLOUT
        if events != member.events:
            member.events = events
            self._epoll.modify(member.fd, events)
