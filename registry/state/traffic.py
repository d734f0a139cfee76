"""What is counted of the requests that went through the gateways, for `/metrics`."""

from __future__ import annotations

from bisect import bisect_left
from itertools import accumulate

import msgspec

from actors.tables import Table
from registry.kinds import Outcome
from registry.metrics import Histogram, TrafficMetrics
from registry.state.records import HistogramRecord, TrafficKey

BUCKETS_S = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0)
"""Upper bounds of the buckets in seconds; a last one holds everything longer."""

_EMPTY = HistogramRecord((0,) * (len(BUCKETS_S) + 1), 0.0)


class Traffic:
    """The tables of counts. All labels come from the registry itself, so their number is bounded by it."""

    def __init__(self) -> None:
        self.requests: Table[TrafficKey, int] = Table("traffic", tuple[str, str, Outcome], int, durable=False)
        self.durations = Table("durations", str, HistogramRecord, durable=False)
        self.first_bytes = Table("first_bytes", str, HistogramRecord, durable=False)
        self.http_errors = Table("http_errors", int, int, durable=False)
        self.tables = (self.requests, self.durations, self.first_bytes, self.http_errors)

    def count(
        self, backend: str, model: str, outcome: Outcome, latency_ms: int | None, first_byte_ms: int | None
    ) -> None:
        """Count a request that has ended."""
        key = (backend, model, outcome)
        self.requests.put(key, (self.requests.get(key) or 0) + 1)
        if latency_ms is not None:
            _observe(self.durations, backend, latency_ms / 1_000)
        if first_byte_ms is not None:
            _observe(self.first_bytes, backend, first_byte_ms / 1_000)

    def count_http_error(self, code: int) -> None:
        """Count an error that a gateway answered itself."""
        self.http_errors.put(code, (self.http_errors.get(code) or 0) + 1)

    def forget(self, backend: str) -> None:
        """Drop the counts of a backend that was removed."""
        for key in [key for key in self.requests if key[0] == backend]:
            self.requests.delete(key)
        for table in (self.durations, self.first_bytes):
            if backend in table:
                table.delete(backend)

    def requests_ended(self) -> list[TrafficMetrics]:
        """All counts of requests."""
        return [TrafficMetrics(*key, requests) for key, requests in self.requests.items()]


def histograms(table: Table[str, HistogramRecord]) -> list[Histogram]:
    """The histograms of a table, with cumulative buckets."""
    bounds = (*BUCKETS_S, float("inf"))
    return [
        Histogram(backend, list(zip(bounds, accumulate(record.counts), strict=True)), record.sum_s)
        for backend, record in table.items()
    ]


def _observe(table: Table[str, HistogramRecord], backend: str, seconds: float) -> None:
    record = table.get(backend) or _EMPTY
    counts = list(record.counts)
    counts[bisect_left(BUCKETS_S, seconds)] += 1
    table.put(backend, msgspec.structs.replace(record, counts=tuple(counts), sum_s=record.sum_s + seconds))
