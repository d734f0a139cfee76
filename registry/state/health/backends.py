"""The probes of backends, and what requests tell about them.

Latencies of probes are not taken into the average: that is one of real requests, and the moving average would carry
the few milliseconds of a list of models into the first of them.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

import msgspec

from actors.tables import Table
from registry.kinds import BackendStatus, Connection, Outcome, Target
from registry.state.backends import Backends
from registry.state.health.agenda import Agenda
from registry.state.health.claims import Claims
from registry.state.health.pace import Pace
from registry.state.health.verdicts import TROUBLES, Verdict, is_news, judge
from registry.state.probe_records import AT_ONCE, Aim, BackendCourse, ClaimRecord, Finding
from registry.state.records import BackendRecord

if TYPE_CHECKING:
    from actors.actor import Context

logger = logging.getLogger(__name__)

MODELS_TOLD = 10
"""So many models of a backend are named in the log at most."""

_HEALTHY, _UNHEALTHY = BackendStatus.HEALTHY, BackendStatus.UNHEALTHY


class BackendProbes:
    """The courses of backends.

    Args:
        pace: How long between two probes.
        backends: What is probed.
        agenda: Told when each is due.
        claims: Who probes what.
        lost: Told which backend has no course any more.
    """

    def __init__(
        self, pace: Pace, backends: Backends, agenda: Agenda, claims: Claims, lost: Callable[[Aim], None]
    ) -> None:
        self._rules = pace.rules
        self._pace = pace
        self._backends = backends
        self._agenda = agenda
        self._claims = claims
        self._lost = lost
        self.courses = Table("backend_courses", str, BackendCourse, durable=False, on_change=self._changed)

    def _changed(self, id: str, _: BackendCourse | None, after: BackendCourse | None) -> None:
        aim = (Target.BACKEND, id)
        self._agenda.due(aim, None if after is None else after.due_s)
        if after is None:
            self._lost(aim)

    # -- what comes and goes ---------------------------------------------------------------------------------

    def ids(self) -> Iterable[str]:
        """All backends, and those that have a course."""
        return (*self._backends.records, *self.courses)

    def settle(self, id: str, context: Context, *, at_start: bool) -> None:
        """Take up what has changed of a backend: it is there, is gone, has another address or status.

        Args:
            id: The backend.
            context: The circumstances.
            at_start: Whether it may have been there for long, so that its status is more than a guess.
        """
        record = self._backends.records.get(id)
        course = self.courses.get(id)
        if record is None or record.connection is Connection.GRPC:
            self._claims.void((Target.BACKEND, id))
            if course is not None:
                self.courses.delete(id)
            return
        if course is not None and course.url == record.url:
            if course.status is not record.status:
                self._set_by_hand(id, course, record.status, context)
            return
        self._claims.void((Target.BACKEND, id))
        now_s = context.monotonic_s
        remembered = at_start and record.status is not BackendStatus.UNKNOWN
        due_s = now_s + self._pace.backend_after_start(id) if remembered else AT_ONCE
        self.courses.put(id, BackendCourse(due_s, record.url, record.status, since_s=now_s, calm_s=now_s))

    def _set_by_hand(self, id: str, course: BackendCourse, status: BackendStatus, context: Context) -> None:
        """Somebody else has decided: the next probe judges from there."""
        now_s = context.monotonic_s
        due_s = AT_ONCE if status is BackendStatus.UNKNOWN else min(course.due_s, now_s + self._pace.interval_s)
        afresh = BackendCourse(due_s, course.url, status, now_s, course.probed_s, course.turn, calm_s=now_s)
        self.courses.put(id, afresh)

    # -- findings --------------------------------------------------------------------------------------------

    def report(self, claim: ClaimRecord, finding: Finding, context: Context) -> None:
        """Note a finding."""
        id, now_s = claim.name, context.monotonic_s
        record = self._backends.records.get(id)
        course = self.courses.get(id)
        if record is None or course is None:
            return
        if finding.models is not None:
            self._backends.learn_models(id, finding.models, context.revision + 1)
        verdict = self._judge(record, course, finding, now_s)
        error = _error(record, verdict.status, finding)
        self._backends.update_status(id, verdict.status, error, context.revision + 1, context.wall_s)
        _tell(record, self._backends.require(id))
        course = msgspec.structs.replace(
            course,
            status=verdict.status,
            failures=verdict.failures,
            successes=verdict.successes,
            probed_s=now_s,
            turn=course.turn + 1,
            **_since(record.status, verdict.status, now_s),
        )
        self.courses.put(id, self._next(id, self._forgiven(course), record.status, finding))

    def _judge(self, record: BackendRecord, course: BackendCourse, finding: Finding, now_s: float) -> Verdict:
        before = Verdict(record.status, course.failures, course.successes)
        held = record.status is _UNHEALTHY and now_s < course.held_until_s
        if held and finding.status is _HEALTHY:
            return before
        return judge(before, finding.status, self._rules)

    def _forgiven(self, course: BackendCourse) -> BackendCourse:
        """The course without one of its trips, if the backend was healthy for a whole interval."""
        now_s = course.probed_s
        if course.trips and course.status is _HEALTHY and now_s - course.calm_s >= self._pace.interval_s:
            return msgspec.structs.replace(course, trips=course.trips - 1, calm_s=now_s)
        return course

    def _next(self, id: str, course: BackendCourse, before: BackendStatus, finding: Finding) -> BackendCourse:
        """The course with the instant of the next probe."""
        pace, status, turn = self._pace, course.status, course.turn
        succeeded = finding.status is _HEALTHY
        level, in_step = course.level, False
        earliest_s = course.probed_s
        if status is BackendStatus.DRAINING or (succeeded and status is _HEALTHY):
            wait_s = pace.steady(id, turn, in_step=course.in_step)
            level, in_step = 0, True
        elif succeeded or status is _HEALTHY:
            wait_s = pace.quick_s
            earliest_s = max(earliest_s, course.held_until_s)
        else:
            level = 0 if before is _HEALTHY else level
            wait_s = pace.back_off(id, turn, level, status)
            level += 1
        if finding.status is BackendStatus.RATE_LIMITED:
            wanted_s = finding.retry_after_s or 0.0
            # While it counts as healthy it is given requests, and must be looked at.
            wait_s = max(wait_s, min(wanted_s, pace.interval_s) if status is _HEALTHY else wanted_s)
        due_s = max(course.probed_s + wait_s, earliest_s)
        return msgspec.structs.replace(course, due_s=due_s, level=level, in_step=in_step)

    # -- requests --------------------------------------------------------------------------------------------

    def request_ended(self, id: str, outcome: Outcome, granted_s: float, context: Context) -> bool:
        """Take into account how a request ended; returns whether a probe is wanted before its time.

        Args:
            id: The backend.
            outcome: How it ended.
            granted_s: When it began, on `CLOCK_MONOTONIC`. What began before the backend was healthy is old news.
            context: The circumstances.
        """
        course = self.courses.get(id)
        if course is None:
            return False
        if outcome is Outcome.OK:
            if course.troubles or course.trips:
                course = msgspec.structs.replace(course, troubles=0, trips=max(course.trips - 1, 0))
                self.courses.put(id, course)
            return False
        if outcome not in TROUBLES or course.status is not _HEALTHY or granted_s < course.since_s:
            return False
        troubles = course.troubles + 1
        if troubles >= self._rules.failure_threshold:
            self._trip(id, course, outcome, context)
            return False
        due_s = course.due_s
        if troubles == 1:
            due_s = min(due_s, max(context.monotonic_s, course.probed_s + self._pace.quick_s))
        sooner = due_s < course.due_s
        in_step = course.in_step and not sooner
        self.courses.put(id, msgspec.structs.replace(course, troubles=troubles, due_s=due_s, in_step=in_step))
        return sooner

    def _trip(self, id: str, course: BackendCourse, outcome: Outcome, context: Context) -> None:
        """Too many requests in a row have failed. The oftener that was so, the longer its probes must wait."""
        now_s = context.monotonic_s
        failed = self._rules.failure_threshold
        requests = "a request" if failed == 1 else f"{failed} requests in a row"
        error = f"{requests} failed, the last one with: {TROUBLES[outcome]}"
        record = self._backends.require(id)
        self._backends.update_status(id, _UNHEALTHY, error, context.revision + 1, context.wall_s)
        _tell(record, self._backends.require(id))
        held_until_s = now_s + self._pace.back_off(id, course.turn, course.trips, _UNHEALTHY)
        tripped = BackendCourse(
            held_until_s,
            course.url,
            _UNHEALTHY,
            now_s,
            course.probed_s,
            course.turn,
            trips=course.trips + 1,
            held_until_s=held_until_s,
        )
        self.courses.put(id, tripped)


def _since(before: BackendStatus, after: BackendStatus, now_s: float) -> dict[str, float]:
    return {} if before is after else {"since_s": now_s, "calm_s": now_s, "troubles": 0, "held_until_s": 0.0}


def _tell(before: BackendRecord, after: BackendRecord) -> None:
    """Log a change of status, for those who run the server."""
    if after.status is before.status:
        return
    if after.status is _HEALTHY:
        models = ", ".join(model.id for model in after.models[:MODELS_TOLD]) or "no models"
        logger.info("backend %s is healthy: %s", after.id, models)
    else:
        status = after.status.value.replace("_", " ")
        logger.warning("backend %s (%s) is %s: %s", after.id, after.url, status, after.last_error)


def _error(record: BackendRecord, status: BackendStatus, finding: Finding) -> str | None:
    """Why a backend is in a status; the reason it has already, if nothing new is found."""
    if finding.status is not status:
        return record.last_error
    if status is record.status and not is_news(record.last_error, finding.error):
        return record.last_error
    return finding.error
