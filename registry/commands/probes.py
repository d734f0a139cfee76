"""Commands of the health checker: what it is to probe, and what it has found."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta

from registry.commands.base import Command
from registry.kinds import BackendStatus
from registry.state.probe_records import ProbeNumber
from registry.state.records import Milliseconds, Models, Text


class NextProbes(Command, frozen=True, tag=True):
    """What is to be probed; waits until there is something. Result: list of `ProbeOrder`, the most urgent first.

    What is handed out is this session's to probe: nobody else is told to, until it is reported, or the session ends,
    or it has taken too long.

    Attributes:
        most: So many at most.
        urgent_only: Only what somebody waits for. A session may wait for both kinds at the same time.
    """

    most: Annotated[int, Meta(ge=1, le=1_000)]
    urgent_only: bool = False


class ReportProbe(Command, frozen=True, tag=True):
    """What a probe has found. Result: None. One that nobody waits for any more is ignored.

    Attributes:
        number: That of the order.
        status: `HEALTHY`, `UNHEALTHY`, `WARMING`, `RATE_LIMITED` or `MISCONFIGURED`.
        error: Why it is not healthy.
        latency_ms: How long the answer took; None without one.
        models: What it has; None if that was not learned.
        retry_after_s: How long it wants to be left alone, in seconds, if it says so.
    """

    number: ProbeNumber
    status: BackendStatus
    error: Text | None = None
    latency_ms: Milliseconds | None = None
    models: Models | None = None
    retry_after_s: Annotated[float, Meta(ge=0, le=86_400)] | None = None
