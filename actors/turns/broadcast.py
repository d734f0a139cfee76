"""Sends to those who keep a copy of the views what the publisher has for them."""

from __future__ import annotations

from collections.abc import Mapping

from actors.clock import Clock
from actors.turns.mail import Mail
from actors.turns.members import Member
from actors.turns.observers import Observers
from actors.turns.publisher import GATHER_S, SHARE


class Broadcast:
    """The part of the owner's loop that concerns copies. What is sent here may not be in the midst of a turn.

    Args:
        observers: Know what is to be sent.
        mail: Sends it.
        members: The sessions by number.
        clock: The time.
    """

    def __init__(self, observers: Observers, mail: Mail, members: Mapping[int, Member], clock: Clock) -> None:
        self._watchers = observers.watchers
        self._publisher = observers.publisher
        self._mail = mail
        self._members = members
        self._clock = clock
        self._served = 0

    @property
    def due_at(self) -> float:
        """When there is something to be sent, on the monotonic clock."""
        return self._publisher.due_at

    def is_due(self, now: float) -> bool:
        """Whether there is something for `send` to do, or to say."""
        publisher = self._publisher
        return publisher.due_at <= now or bool(publisher.joining) or self._watchers.behind

    def send(self) -> bool:
        """Send the updates that are due, and a piece of a snapshot; whether there is more to be said at once."""
        publisher = self._publisher
        now = self._clock.monotonic()
        if publisher.due_at <= now:
            for session, messages in publisher.updates():
                self._offer(self._members[session], messages)
            publisher.gather_s = max(GATHER_S, SHARE * (self._clock.monotonic() - now))
        more = bool(publisher.joining) and self._send_piece()
        return more or self._watchers.behind

    def _send_piece(self) -> bool:
        """Send one piece of one snapshot, of another one each time; whether the reader of any keeps up."""
        publisher = self._publisher
        ready = [session for session in publisher.joining if publisher.can_go_on(session) and self._keeps_up(session)]
        if not ready:
            return False
        self._served = next((session for session in ready if session > self._served), ready[0])
        member = self._members[self._served]
        self._mail.let_go(member)
        for message in publisher.piece(self._served):
            self._mail.post(member, message)
        return True

    def _keeps_up(self, session: int) -> bool:
        member = self._members[session]
        return not (member.gone or member.channel.unsent_bytes)

    def beat(self) -> None:
        """A sign of life for those who have heard nothing since the last one, and have read everything."""
        for session, messages in self._publisher.beat():
            if self._keeps_up(session):
                self._offer(self._members[session], messages)

    def _offer(self, member: Member, messages: list[bytes]) -> None:
        if not member.gone:
            self._mail.offer(member, messages)
