"""What the health checker asks and says."""

from __future__ import annotations

from collections.abc import Sequence

from registry import commands as c
from registry.kinds import BackendStatus
from registry.models import Model
from registry.operations.calls import Call, none, operation, reader
from registry.state.probe_records import ProbeOrder

PROBES_TIMEOUT_S = 60.0
"""How long `next_probes` waits unless told otherwise."""

_orders = reader(list[ProbeOrder])


class ProbeOperations:
    """Operations of a health checker; a system has one."""

    @operation
    @staticmethod
    def next_probes(
        most: int, *, urgent_only: bool = False, timeout: float = PROBES_TIMEOUT_S
    ) -> Call[list[ProbeOrder]]:
        """What is to be probed; waits until there is something.

        Args:
            most: So many at most, 1 to 1,000.
            urgent_only: Only what somebody waits for; one call of each kind may wait at the same time.
            timeout: Longest wait in seconds.

        Raises:
            CallTimeout: There was nothing; ask again.
        """
        return Call(c.NextProbes(most, urgent_only), _orders, timeout=timeout, changes=False)

    @operation
    @staticmethod
    def report_probe(
        number: int,
        status: BackendStatus,
        *,
        error: str | None = None,
        latency_ms: int | None = None,
        models: Sequence[Model] | None = None,
        retry_after_s: float | None = None,
    ) -> Call[None]:
        """Say what a probe has found; ignored if nobody waits for it any more.

        Args:
            number: That of the order.
            status: `HEALTHY`, `UNHEALTHY`, `WARMING`, `RATE_LIMITED` or `MISCONFIGURED`.
            error: Why it is not healthy.
            latency_ms: How long the answer took.
            models: What it has; None if that was not learned.
            retry_after_s: How long it wants to be left alone, in seconds.
        """
        records = None if models is None else tuple(model.record() for model in models)
        return Call(c.ReportProbe(number, status, error, latency_ms, records, retry_after_s), none)
