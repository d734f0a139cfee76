"""The records of health checks: compact, immutable structs."""

from __future__ import annotations

import math
from typing import Annotated

import msgspec
from msgspec import Meta

from registry.kinds import BackendStatus, BackendType, Target
from registry.state.records import ModelRecord

ProbeNumber = Annotated[int, Meta(ge=1, le=2**63 - 1)]

Aim = tuple[Target, str]
"""What a probe is of: a backend's id or a service's name."""

AT_ONCE = 0.0
"""When something is due that comes before all that is due by its course."""


class ProbeOrder(msgspec.Struct, frozen=True, array_like=True):
    """One thing to be probed, as it is handed to the health checker.

    Attributes:
        number: Its number, by which the finding is reported.
        target: Whether it is a backend or a service.
        name: The id of the backend or the name of the service.
        url: A backend's base address; the whole address to get from a service.
        backend_type: What software the backend runs; `GENERIC` for a service.
        urgent: Whether somebody waits for the finding.
        begin_until_s: Instant on `CLOCK_MONOTONIC` until which it may be begun, so that it ends before another one is
            handed out for the same target.
    """

    number: int
    target: Target
    name: str
    url: str
    backend_type: BackendType = BackendType.GENERIC
    urgent: bool = False
    begin_until_s: float = math.inf


class Finding(msgspec.Struct, frozen=True):
    """What a probe has found; see `registry.commands.probes.ReportProbe`."""

    status: BackendStatus
    error: str | None = None
    models: tuple[ModelRecord, ...] | None = None
    retry_after_s: float | None = None


class BackendCourse(msgspec.Struct, frozen=True, array_like=True):
    """How the probes of a backend go. Instants are on `CLOCK_MONOTONIC`.

    Attributes:
        due_s: When the next one is due.
        url: The address that is probed.
        status: The status as it was left here; another one in the backend's record was set by hand.
        since_s: Since when it has this status.
        probed_s: When the latest finding came.
        turn: How many have come.
        in_step: Whether the latest wait was the regular one, so that the backend has its place in the interval.
        failures: Findings in a row that it is not healthy.
        successes: Findings in a row that it is.
        level: How often its wait was doubled, because it is not healthy.
        troubles: Requests in a row that it has failed.
        trips: How often requests have made it unhealthy, less what was forgiven since.
        calm_s: Since when it is healthy, or a trip was last forgiven for that.
        held_until_s: Till then a success does not count, because requests have made it unhealthy.
    """

    due_s: float
    url: str
    status: BackendStatus
    since_s: float
    probed_s: float = 0.0
    turn: int = 0
    in_step: bool = False
    failures: int = 0
    successes: int = 0
    level: int = 0
    troubles: int = 0
    trips: int = 0
    calm_s: float = 0.0
    held_until_s: float = 0.0


class ServiceCourse(msgspec.Struct, frozen=True, array_like=True):
    """How the probes of a service go; see `BackendCourse`."""

    due_s: float
    turn: int = 0
    in_step: bool = False


class ClaimRecord(msgspec.Struct, frozen=True, array_like=True):
    """A session's order to probe something, which nobody else has meanwhile.

    Attributes:
        target: Whether it is a backend or a service.
        name: Which.
        session: Who probes it.
        url: The address that is probed.
        since_s: Instant on `CLOCK_MONOTONIC` when it was handed out.
    """

    target: Target
    name: str
    session: int
    url: str
    since_s: float


class AskRecord(msgspec.Struct, frozen=True, array_like=True):
    """A session that waits for something to probe.

    Attributes:
        most: So much at most.
        arrival: Number of its arrival, which rises from one to the next.
        deadline_s: Instant on `CLOCK_MONOTONIC` after which it is not served.
        urgent_only: Whether it wants only what somebody waits for.
    """

    most: int
    arrival: int
    deadline_s: float = math.inf
    urgent_only: bool = False
