"""What is probed when and by whom, and what follows from what was found.

Health checkers ask for something to probe and say what they have found; everything else is decided here. Without one
nothing of it happens, and nothing is kept of backends.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from functools import partial
from typing import TYPE_CHECKING

from registry.errors import CommandInvalid
from registry.kinds import BackendType, Outcome, Target
from registry.state.backends import Backends
from registry.state.health.agenda import Agenda
from registry.state.health.asks import Asks, CallId
from registry.state.health.backends import BackendProbes
from registry.state.health.claims import Claims
from registry.state.health.pace import Pace
from registry.state.health.services import ProbedServices, ServiceProbes
from registry.state.health.verdicts import FINDINGS
from registry.state.probe_records import Aim, ClaimRecord, Finding, ProbeOrder
from registry.state.rules import HealthRules
from registry.state.service_records import ServiceView

if TYPE_CHECKING:
    from actors.actor import Context

CLAIM_MARGIN_S = 10.0
"""So long after the longest probe its finding is waited for: it may have had to wait for its turn."""

MOST_AT_ONCE = 1_000
"""So many targets are taken up at once after a start, and services without an address passed over."""


class Health:
    """The tables of probes.

    Args:
        rules: How health is judged.
        backends: What is probed; services are made known by `attend`.
    """

    def __init__(self, rules: HealthRules, backends: Backends) -> None:
        self._claim_s = rules.timeout_s + CLAIM_MARGIN_S
        self._backends = backends
        self._active = False
        self._unsettled: deque[Aim] = deque()
        pace = Pace(rules)
        self.agenda = Agenda()
        self.claims = Claims(self.agenda)
        self.asks = Asks()
        self.of_backends = BackendProbes(pace, backends, self.agenda, self.claims, self._lost)
        self.of_services = ServiceProbes(pace, self.agenda, self.claims, self._lost)
        self.checks = self.of_services.checks
        self.tables = (
            self.of_backends.courses,
            self.of_services.courses,
            self.claims.records,
            self.asks.checkers,
            self.asks.waiting,
            self.checks.waiting,
        )

    def attend(self, services: ProbedServices) -> None:
        """These are the services."""
        self.of_services.services = services

    # -- what comes and goes ---------------------------------------------------------------------------------

    def service_registered(self, name: str, context: Context) -> None:
        """A service was registered, or anew."""
        self.of_services.registered(name, context)

    def service_repeated(self, name: str, context: Context) -> None:
        """A service was registered again in the same words."""
        self.of_services.repeated(name, context)

    def service_removed(self, name: str, context: Context) -> None:
        """A service was removed; those who wait for what is found of it are refused."""
        self.of_services.removed(name, context)

    def _lost(self, aim: Aim) -> None:
        """A target has no course any more: because it is gone, or because what has begun it was reverted."""
        if self._active:
            self._unsettled.append(aim)

    def settle(self, context: Context) -> None:
        """Take up what has changed of backends, and at the start all there is, bit by bit."""
        stirred, self._backends.stirred = self._backends.stirred, set()
        if not self._active:
            if not len(self.asks.checkers):
                return
            self._active = True
            self._unsettled.extend((Target.BACKEND, id) for id in self.of_backends.ids())
            self._unsettled.extend((Target.SERVICE, name) for name in self.of_services.names())
            stirred.clear()  # they are among them
        for id in sorted(stirred):
            self.of_backends.settle(id, context, at_start=False)
        for _ in range(min(MOST_AT_ONCE, len(self._unsettled))):
            self._settle(self._unsettled.popleft(), context)
        self.serve(context)

    def _settle(self, aim: Aim, context: Context) -> None:
        target, name = aim
        if target is Target.BACKEND:
            self.of_backends.settle(name, context, at_start=True)
        else:
            self.of_services.settle(name, context)

    def tick(self, context: Context) -> None:
        """Take back the claims whose time is over, and hand out what has become due."""
        self.claims.expire(context.monotonic_s - self._claim_s)
        self.settle(context)

    def due(self) -> Iterator[Callable[[Context], None]]:
        """The services that were due and have no address; each is found unhealthy for itself."""
        unusable = self.of_services.unusable
        while unusable:
            yield partial(self.of_services.without_address, unusable.popleft())

    def end_session(self, session: int, context: Context) -> None:
        """What a session had to probe goes to another one."""
        self.claims.end_session(session)
        if session in self.asks.checkers:
            self.asks.checkers.delete(session)
        self.serve(context)

    # -- handing out -----------------------------------------------------------------------------------------

    def next_probes(self, most: int, context: Context, *, urgent_only: bool = False) -> list[ProbeOrder]:
        """What is to be probed by the session that asks; nothing if it has to wait."""
        if context.session not in self.asks.checkers:
            self.asks.checkers.put(context.session, context.monotonic_s)
        self.settle(context)
        orders = self._take(context.session, most, context, urgent_only=urgent_only)
        if not orders:
            self.asks.wait(context.call, most, context.deadline_s, context.epoch, urgent_only=urgent_only)
        return orders

    def cancelled(self, call: CallId) -> None:
        """Somebody does not wait any more."""
        for waiting in (self.asks.waiting, self.checks.waiting):
            if call in waiting:
                waiting.delete(call)

    def serve(self, context: Context) -> None:
        """Hand what is due to those who wait for it."""
        now_s = context.monotonic_s
        if not len(self.asks.waiting) or self.agenda.first(now_s) is None:
            return
        for call, ask in self.asks.in_order():
            if ask.deadline_s < now_s:
                continue  # it may never read its orders; the next tick takes it out of the line
            orders = self._take(call[0], ask.most, context, urgent_only=ask.urgent_only)
            if orders:
                self.asks.waiting.delete(call)
                context.answer(call, orders)
            elif not ask.urgent_only:
                return

    def _take(self, session: int, most: int, context: Context, *, urgent_only: bool) -> list[ProbeOrder]:
        """Claim what is due for a session; services without an address are passed over."""
        orders: list[ProbeOrder] = []
        now_s = context.monotonic_s
        for _ in range(most + MOST_AT_ONCE):
            aim = self.agenda.first(now_s)
            if aim is None or len(orders) == most or (urgent_only and not self.agenda.is_wanted(aim)):
                break
            order = self._order(aim, session, context)
            if order is not None:
                orders.append(order)
        return orders

    def _order(self, aim: Aim, session: int, context: Context) -> ProbeOrder | None:
        target, name = aim
        record = self._backends.records.get(name) if target is Target.BACKEND else None
        if record is not None:
            return self._claim(aim, record.url, record.backend_type, session, context)
        if target is Target.BACKEND or not self.of_services.is_present(name):
            self._settle(aim, context)  # it is gone, and nobody has looked yet
            return None
        url = self.of_services.known.probe_url(name)
        if url is None:
            self.of_services.postpone(name, context)
            return None
        return self._claim(aim, url, BackendType.GENERIC, session, context)

    def _claim(self, aim: Aim, url: str, backend_type: BackendType, session: int, context: Context) -> ProbeOrder:
        urgent = self.agenda.is_wanted(aim)
        now_s = context.monotonic_s
        number = self.claims.grant(ClaimRecord(*aim, session, url, now_s), context.epoch)
        return ProbeOrder(number, *aim, url, backend_type, urgent, now_s + CLAIM_MARGIN_S)

    # -- what is found ---------------------------------------------------------------------------------------

    def report(self, number: int, finding: Finding, context: Context) -> None:
        """Note what a probe has found; raises `CommandInvalid` if that is nothing that a probe can find."""
        if finding.status not in FINDINGS:
            raise CommandInvalid("status", f"a probe finds {', '.join(sorted(FINDINGS))}, not {finding.status}")
        claim = self.claims.take(number, context.session)
        if claim is None:
            return
        if claim.target is Target.BACKEND:
            self.of_backends.report(claim, finding, context)
        else:
            self.of_services.report(claim, finding, context)
        self.serve(context)

    def check(self, name: str, context: Context) -> ServiceView | None:
        """Let a service be probed before its time; returns None if that has to be waited for.

        Raises:
            ServiceNotFound: There is none of this name.
        """
        services = self.of_services.known
        services.require(name)
        if services.probe_url(name) is None:
            self.of_services.found(name, False, context)
            return services.view(name, context)
        self.checks.waiting.put(context.call, name)
        self.serve(context)
        return None

    def request_ended(self, backend: str, outcome: Outcome, granted_s: float, context: Context) -> None:
        """Take into account how a request ended, if there is somebody who can find out that the backend recovers.

        Args:
            backend: Its backend.
            outcome: How it ended.
            granted_s: When it began, on `CLOCK_MONOTONIC`.
            context: The circumstances.
        """
        if len(self.asks.checkers) and self.of_backends.request_ended(backend, outcome, granted_s, context):
            self.serve(context)
