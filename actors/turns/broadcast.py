"""Sends to those who keep a copy of the views what the publisher has for them."""

from __future__ import annotations

from collections.abc import Mapping

from actors.clock import Clock
from actors.turns.mail import Mail
from actors.turns.members import Member
from actors.turns.publisher import Publisher


class Broadcast:
    """The part of the owner's loop that concerns copies. What is sent here may not be in the midst of a turn.

    Args:
        publisher: Knows what is to be sent.
        mail: Sends it.
        members: The sessions by number.
        clock: The time.
    """

    def __init__(self, publisher: Publisher, mail: Mail, members: Mapping[int, Member], clock: Clock) -> None:
        self._publisher = publisher
        self._mail = mail
        self._members = members
        self._clock = clock

    @property
    def due_at(self) -> float:
        """When there is something to be sent, on the monotonic clock."""
        return self._publisher.due_at

    def send(self) -> bool:
        """Send what is due, and a piece of each snapshot whose reader keeps up; whether there is more of these."""
        publisher = self._publisher
        if not publisher.subscribers:
            return False
        if publisher.due_at <= self._clock.monotonic():
            for session, messages in publisher.updates():
                self._offer(self._members[session], messages)
        more = False
        for session in publisher.incomplete:
            member = self._members[session]
            if not (member.gone or member.channel.unsent_bytes):
                for message in publisher.piece(session):
                    self._mail.post(member, message)
                more = more or not member.channel.unsent_bytes
        return more

    def beat(self) -> None:
        """A sign of life for those who have heard nothing since the last one, and have read everything."""
        for session, messages in self._publisher.beat():
            member = self._members[session]
            if not member.channel.unsent_bytes:
                self._offer(member, messages)

    def _offer(self, member: Member, messages: list[bytes]) -> None:
        if not member.gone:
            self._mail.offer(member, messages)
