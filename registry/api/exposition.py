"""`/metrics`, in the form Prometheus reads.

All figures are counted in the owner, so every gateway shows the same ones and none are lost with a process.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4, generate_latest
from prometheus_client.registry import Collector, CollectorRegistry
from starlette.requests import Request
from starlette.responses import Response

from registry.api.asked import AskedRegistry
from registry.kinds import BackendStatus
from registry.metrics import Histogram, Metrics

PREFIX = "actor_registry_"


class MetricsPage:
    """Answers `GET /metrics`.

    Args:
        registry: Asked for a snapshot each time.
    """

    def __init__(self, registry: AskedRegistry) -> None:
        self._registry = registry

    async def get(self, request: Request) -> Response:  # noqa: ARG002 -- a Starlette endpoint
        """`GET /metrics`."""
        return Response(render(await self._registry.metrics()), headers={"content-type": CONTENT_TYPE_PLAIN_0_0_4})


def render(snapshot: Metrics) -> bytes:
    """Write a snapshot in Prometheus' text format.

    Args:
        snapshot: As the owner counted it.
    """
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_SnapshotCollector(snapshot))
    return generate_latest(registry)


class _SnapshotCollector(Collector):
    def __init__(self, snapshot: Metrics) -> None:
        self._snapshot = snapshot

    def collect(self) -> Iterator[Metric]:
        snapshot = self._snapshot
        yield _gauge("epoch", "Number of the owner's life", snapshot.epoch)
        yield _gauge("revision", "Number of the last durable change", snapshot.revision)
        yield _gauge("leases", "Leases that are held now, on all backends", snapshot.leases)
        yield from self._backends()
        yield self._services()
        yield self._requests()
        yield _histogram("request_duration_seconds", "From lease to release", snapshot.durations)
        yield _histogram("first_byte_seconds", "From lease to the first byte of the answer", snapshot.first_bytes)
        errors = CounterMetricFamily(
            PREFIX + "http_errors", "Errors that gateways answered themselves", labels=["code"]
        )
        for code, count in sorted(snapshot.http_errors.items()):
            errors.add_metric([str(code)], count)
        yield errors

    def _backends(self) -> Iterator[Metric]:
        by_status = Counter(str(BackendStatus(backend.status).value) for backend in self._snapshot.backends)
        backends = GaugeMetricFamily(PREFIX + "backends", "Registered backends", labels=["status"])
        # A status nobody has is shown as 0, so that an alert on it does not go blind.
        for status in BackendStatus:
            backends.add_metric([status.value], by_status[status.value])
        yield backends
        meaning = "Requests in flight: leases, and what processes have counted themselves"
        pending = GaugeMetricFamily(PREFIX + "pending_requests", meaning, labels=["backend"])
        for backend in self._snapshot.backends:
            pending.add_metric([backend.id], backend.pending_requests)
        yield pending

    def _services(self) -> Metric:
        # Not by status: that is any word a service likes, and each would be a series for ever.
        services = GaugeMetricFamily(PREFIX + "services", "Registered services", labels=["healthy"])
        counts = self._snapshot.services
        services.add_metric(["true"], counts.healthy)
        services.add_metric(["false"], counts.registered - counts.healthy)
        return services

    def _requests(self) -> Metric:
        requests = CounterMetricFamily(PREFIX + "requests", "Finished requests", labels=["backend", "model", "outcome"])
        for traffic in self._snapshot.traffic:
            requests.add_metric([traffic.backend, traffic.model, str(traffic.outcome)], traffic.requests)
        return requests


def _gauge(name: str, meaning: str, value: int) -> Metric:
    return GaugeMetricFamily(PREFIX + name, meaning, value=value)


def _histogram(name: str, meaning: str, histograms: Iterable[Histogram]) -> Metric:
    family = HistogramMetricFamily(PREFIX + name, meaning, labels=["backend"])
    for histogram in histograms:
        buckets = [("+Inf" if le == float("inf") else str(le), float(count)) for le, count in histogram.buckets]
        family.add_metric([histogram.backend], buckets, histogram.sum_s)
    return family
