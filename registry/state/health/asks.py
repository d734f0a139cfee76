"""Who waits for something to probe, and who for what is found of a service."""

from __future__ import annotations

from actors.tables import Table
from registry.kinds import Target
from registry.state.health.agenda import Agenda
from registry.state.probe_records import AskRecord

CallId = tuple[int, int]
"""Session and number of the command that waits."""


class Asks:
    """The sessions that ask for something to probe.

    Attributes:
        checkers: Which sessions have ever asked, and at which instant first.
        waiting: Those that wait.
    """

    def __init__(self) -> None:
        self.checkers = Table("health_checkers", int, float, durable=False)
        self.waiting: Table[CallId, AskRecord] = Table("waiting_checkers", tuple[int, int], AskRecord, durable=False)
        self._arrived = 0

    def wait(self, call: CallId, most: int, deadline_s: float, epoch: int, *, urgent_only: bool = False) -> None:
        """Somebody waits for something to probe."""
        self._arrived += 1
        self.waiting.put(call, AskRecord(most, (epoch << 40) + self._arrived, deadline_s, urgent_only))

    def in_order(self) -> list[tuple[CallId, AskRecord]]:
        """Those who wait, in order of their arrival."""
        return sorted(self.waiting.items(), key=lambda item: item[1].arrival)


class Checks:
    """Those who wait for what is found of a service.

    Args:
        agenda: Told what somebody waits for.
    """

    def __init__(self, agenda: Agenda) -> None:
        self._agenda = agenda
        self._of_service: dict[str, dict[CallId, None]] = {}
        self.waiting: Table[CallId, str] = Table(
            "service_checks", tuple[int, int], str, durable=False, on_change=self._changed
        )

    def _changed(self, call: CallId, before: str | None, after: str | None) -> None:
        if before is not None:
            calls = self._of_service[before]
            del calls[call]
            if not calls:
                del self._of_service[before]
                self._agenda.wanted((Target.SERVICE, before), False)
        if after is not None:
            self._of_service.setdefault(after, {})[call] = None
            self._agenda.wanted((Target.SERVICE, after), True)

    def take(self, service: str) -> list[CallId]:
        """Take those who wait for this service out of the table, to answer them."""
        calls = sorted(self._of_service.get(service, ()))
        for call in calls:
            self.waiting.delete(call)
        return calls
