"""What is counted of backends."""

from __future__ import annotations

from registry import commands as c
from registry.metrics import Metrics
from registry.operations.calls import Call, integer, operation, reader

_metrics = reader(Metrics)


class CounterOperations:
    """Operations on counts."""

    @operation
    @staticmethod
    def increment_pending(id: str) -> Call[int]:
        """Count one more request in flight, until this process decrements it or ends; returns the new number.

        Raises:
            BackendNotFound: There is none of this id.
        """
        return Call(c.IncrementPending(id), integer)

    @operation
    @staticmethod
    def decrement_pending(id: str) -> Call[int]:
        """Count one request in flight less; returns the new number. Never below the live leases.

        Raises:
            BackendNotFound: There is none of this id.
        """
        return Call(c.DecrementPending(id), integer)

    @operation
    @staticmethod
    def increment_total_requests(id: str) -> Call[int]:
        """Count a request that has ended; returns the new total.

        Raises:
            BackendNotFound: There is none of this id.
        """
        return Call(c.IncrementTotalRequests(id), integer)

    @operation
    @staticmethod
    def update_latency(id: str, latency_ms: int) -> Call[int]:
        """Take a sample into the moving average `(sample + 4 * old) // 5`; returns the new average.

        Raises:
            BackendNotFound: There is none of this id.
        """
        return Call(c.UpdateLatency(id, latency_ms), integer)

    @operation
    @staticmethod
    def metrics() -> Call[Metrics]:
        """What the owner counts."""
        return Call(c.GetMetrics(), _metrics, changes=False)
