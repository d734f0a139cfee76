"""The probes of services. Each finding counts at once, and each interval there is one."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, Protocol

import msgspec

from actors.tables import Table
from registry.errors import ServiceNotFound
from registry.kinds import BackendStatus, ServiceHealth, Target
from registry.state.health.agenda import Agenda
from registry.state.health.asks import Checks
from registry.state.health.claims import Claims
from registry.state.health.pace import Pace
from registry.state.probe_records import Aim, ClaimRecord, Finding, ServiceCourse
from registry.state.service_records import ServiceView

if TYPE_CHECKING:
    from actors.actor import Context


logger = logging.getLogger(__name__)


class ProbedServices(Protocol):
    """What is to be known of services; `registry.state.services.Services` is it."""

    @property
    def records(self) -> Table[str, Any]:
        """All services by name."""

    def require(self, name: str) -> Any:
        """The record of a service; raises `ServiceNotFound`."""

    def view(self, name: str, context: Context) -> ServiceView:
        """A service as it is now."""

    def probe_url(self, name: str) -> str | None:
        """The address to get; None if it has none that can be got."""

    def probed(self, name: str, healthy: bool, context: Context, *, alive: bool) -> None:
        """Note what was found, and, if it is `alive`, a sign of life."""


class ServiceProbes:
    """The courses of services.

    Args:
        pace: How long between two probes.
        agenda: Told when each is due.
        claims: Who probes what.
        lost: Told which service has no course any more.

    Attributes:
        services: The services.
        checks: Who waits for what is found of one.
        unusable: Those that were due and have no address. A change of each is one in the history, so none of them
            is made on the way to the orders of a health checker.
    """

    def __init__(self, pace: Pace, agenda: Agenda, claims: Claims, lost: Callable[[Aim], None]) -> None:
        self._pace = pace
        self._agenda = agenda
        self._claims = claims
        self._lost = lost
        self.services: ProbedServices | None = None
        self.unusable: deque[str] = deque()
        self.checks = Checks(agenda)
        self.courses = Table("service_courses", str, ServiceCourse, durable=False, on_change=self._changed)

    def _changed(self, name: str, _: ServiceCourse | None, after: ServiceCourse | None) -> None:
        aim = (Target.SERVICE, name)
        self._agenda.due(aim, None if after is None else after.due_s)
        if after is None:
            self._lost(aim)

    @property
    def known(self) -> ProbedServices:
        """The services."""
        if self.services is None:
            raise RuntimeError("there are no services")
        return self.services

    # -- what comes and goes ---------------------------------------------------------------------------------

    def names(self) -> Iterable[str]:
        """All services, and those that have a course."""
        return self.courses if self.services is None else (*self.services.records, *self.courses)

    def registered(self, name: str, context: Context) -> None:
        """A service was registered, or anew: it is probed in an interval from now."""
        self._claims.void((Target.SERVICE, name))
        self.courses.put(name, ServiceCourse(context.monotonic_s + self._pace.interval_s))

    def repeated(self, name: str, context: Context) -> None:
        """A service was registered again in the same words: who does that all the time is probed all the same."""
        if self._claims.void((Target.SERVICE, name)):
            self.registered(name, context)

    def removed(self, name: str, context: Context) -> None:
        """A service was removed."""
        self._claims.void((Target.SERVICE, name))
        if name in self.courses:
            self.courses.delete(name)
        for call in self.checks.take(name):
            context.refuse(call, ServiceNotFound(name))

    def settle(self, name: str, context: Context) -> None:
        """Let a service that was there before a start be probed within an interval."""
        present = self.is_present(name)
        if present and name not in self.courses:
            self.courses.put(name, ServiceCourse(context.monotonic_s + self._pace.service_after_start(name)))
        elif not present and name in self.courses:
            self.courses.delete(name)

    # -- probing ---------------------------------------------------------------------------------------------

    def is_present(self, name: str) -> bool:
        """Whether there is such a service."""
        return self.services is not None and name in self.services.records

    def report(self, claim: ClaimRecord, finding: Finding, context: Context) -> None:
        """Note a finding, unless the service has another address by now: then it is probed again."""
        name = claim.name
        if name in self.known.records and self.known.probe_url(name) == claim.url:
            before = self.known.view(name, context).health_status
            self.found(name, finding.status is BackendStatus.HEALTHY, context)
            _tell(claim, before, finding)

    def found(self, name: str, healthy: bool, context: Context) -> None:
        """Note whether a service is healthy, and tell those who wait for that."""
        calls = self.checks.take(name)
        self.known.probed(name, healthy, context, alive=healthy and bool(calls))
        self._go_on(name, context)
        for call in calls:
            context.answer(call, self.known.view(name, context))

    def postpone(self, name: str, context: Context) -> None:
        """A service is due that has no address to get."""
        if self._agenda.is_wanted((Target.SERVICE, name)):
            self.found(name, False, context)
        else:
            self._go_on(name, context)
            self.unusable.append(name)

    def without_address(self, name: str, context: Context) -> None:
        """A service that has no address to get is not healthy."""
        if self.is_present(name) and self.known.probe_url(name) is None:
            self.known.probed(name, False, context, alive=False)

    def _go_on(self, name: str, context: Context) -> None:
        """Set when the next probe is due."""
        now_s = context.monotonic_s
        course = self.courses.get(name) or ServiceCourse(now_s)
        if course.due_s <= now_s:  # else somebody has asked in between, and its place in the interval stays
            wait_s = self._pace.steady(name, course.turn, in_step=course.in_step)
            course = msgspec.structs.replace(course, due_s=now_s + wait_s, turn=course.turn + 1, in_step=True)
            self.courses.put(name, course)


def _tell(claim: ClaimRecord, before: ServiceHealth, finding: Finding) -> None:
    """Log another finding than the one before, for those who run the server."""
    if finding.status is BackendStatus.HEALTHY:
        if before is not ServiceHealth.HEALTHY:
            logger.info("service %s is found healthy", claim.name)
    elif before is not ServiceHealth.UNHEALTHY:
        logger.warning("service %s (%s) is found unhealthy: %s", claim.name, claim.url, finding.error)
