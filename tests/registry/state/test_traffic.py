"""What is counted for `/metrics`."""

import math

from registry import commands as c
from registry.kinds import BackendStatus, Outcome
from registry.metrics import BackendMetrics, Metrics, TrafficMetrics
from registry.state.traffic import BUCKETS_S
from tests.registry.state.driver import State, backend


def metrics(state: State) -> Metrics:
    """All figures at this moment."""
    found: Metrics = state.apply(c.GetMetrics())
    return found


def test_metrics_of_an_empty_registry() -> None:
    """Nothing is counted before anything has happened."""
    empty = metrics(State())
    assert (empty.leases, empty.backends, empty.traffic, empty.durations, empty.http_errors) == (0, [], [], [], {})


def test_metrics_name_backends_and_leases() -> None:
    """Each backend is there with its status and requests in flight."""
    state = State(backend("a", "m"), backend("b", status=BackendStatus.UNHEALTHY))
    state.acquire()
    state.apply(c.IncrementPending("a"))
    found = metrics(state)
    assert found.leases == 1
    assert found.backends == [
        BackendMetrics("a", BackendStatus.HEALTHY, 2),
        BackendMetrics("b", BackendStatus.UNHEALTHY, 0),
    ]


def test_requests_are_counted_by_backend_model_and_outcome() -> None:
    """Requests that ended alike are counted together."""
    state = State(backend("a", "m", "n"))
    for model, outcome in (("m", Outcome.OK), ("m", Outcome.OK), ("m", Outcome.BROKEN), ("n", Outcome.OK)):
        state.release(state.acquire(model), outcome=outcome)
    assert metrics(state).traffic == [
        TrafficMetrics("a", "m", Outcome.OK, 2),
        TrafficMetrics("a", "m", Outcome.BROKEN, 1),
        TrafficMetrics("a", "n", Outcome.OK, 1),
    ]


def test_durations_fall_into_cumulative_buckets() -> None:
    """A duration is counted in the bucket of its bound and in all above; the last bucket holds everything."""
    state = State(backend("a", "m"))
    for latency_ms in (5, 6, 1_000, 400_000):
        state.release(state.acquire(), latency_ms=latency_ms)
    (histogram,) = metrics(state).durations
    buckets = dict(histogram.buckets)
    assert list(buckets) == [*BUCKETS_S, math.inf]
    assert [buckets[bound] for bound in (0.005, 0.01, 0.5, 1.0, 300.0, math.inf)] == [1, 2, 2, 3, 3, 4]
    assert math.isclose(histogram.sum_s, 401.011)


def test_only_successes_have_a_duration_but_all_have_a_first_byte() -> None:
    """How long a request took counts when it succeeded; when its answer began counts in any case."""
    state = State(backend("a", "m"))
    state.release(state.acquire(), outcome=Outcome.BROKEN, latency_ms=50, first_byte_ms=20)
    found = metrics(state)
    assert found.durations == []
    assert [histogram.buckets[-1][1] for histogram in found.first_bytes] == [1]


def test_http_errors_are_counted_by_code() -> None:
    """Errors that gateways answer themselves are counted by status code."""
    state = State()
    for code in (404, 503, 404):
        state.apply(c.CountHttpError(code))
    assert metrics(state).http_errors == {404: 2, 503: 1}


def test_counts_of_a_removed_backend_go_with_it() -> None:
    """The number of labels is bounded by the backends there are."""
    state = State(backend("a", "m"), backend("b", "m"))
    for exclude in ("a", "b"):
        state.release(state.acquire(exclude=(exclude,)), latency_ms=1, first_byte_ms=1)
    state.apply(c.RemoveBackend("a"))
    found = metrics(state)
    assert [one.backend for one in found.traffic] == ["b"]
    assert [one.backend for one in (*found.durations, *found.first_bytes)] == ["b", "b"]
