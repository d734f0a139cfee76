"""Who probes what."""

from __future__ import annotations

from heapq import heappop, heappush

from actors.tables import Table
from registry.state.health.agenda import Agenda
from registry.state.probe_records import Aim, ClaimRecord


class Claims:
    """The table of claims. A target has one at most, so it is probed by one session at any time.

    Args:
        agenda: Told what is claimed and what is not any more.
    """

    def __init__(self, agenda: Agenda) -> None:
        self._agenda = agenda
        self._of_aim: dict[Aim, int] = {}
        self._of_session: dict[int, set[int]] = {}
        self._oldest: list[int] = []
        self._granted = 0
        self.records = Table("probe_claims", int, ClaimRecord, durable=False, on_change=self._changed)

    def _changed(self, number: int, before: ClaimRecord | None, after: ClaimRecord | None) -> None:
        if before is not None:
            aim = (before.target, before.name)
            del self._of_aim[aim]
            held = self._of_session[before.session]
            held.discard(number)
            if not held:
                del self._of_session[before.session]
            self._agenda.claimed(aim, False)
        if after is not None:
            aim = (after.target, after.name)
            self._of_aim[aim] = number
            self._of_session.setdefault(after.session, set()).add(number)
            heappush(self._oldest, number)
            self._agenda.claimed(aim, True)

    def grant(self, claim: ClaimRecord, epoch: int) -> int:
        """Note a claim on what nobody probes; returns its number, which is used once in the life of the system."""
        self._granted += 1
        number = (epoch << 40) + self._granted
        self.records.put(number, claim)
        return number

    def take(self, number: int, session: int) -> ClaimRecord | None:
        """Take a claim back from its session; None if it does not have it."""
        claim = self.records.get(number)
        if claim is None or claim.session != session:
            return None
        self.records.delete(number)
        return claim

    def void(self, aim: Aim) -> bool:
        """What is found of this target is of no interest any more; whether anybody was about to find something."""
        number = self._of_aim.get(aim)
        if number is None:
            return False
        self.records.delete(number)
        return True

    def end_session(self, session: int) -> None:
        """Take back the claims of a session."""
        for number in sorted(self._of_session.get(session, ())):
            self.records.delete(number)

    def expire(self, before_s: float) -> None:
        """Take back what was handed out before this instant."""
        oldest = self._oldest
        while oldest:
            claim = self.records.get(oldest[0])
            if claim is not None:
                if claim.since_s > before_s:
                    return
                self.records.delete(oldest[0])
            heappop(oldest)
