"""The control plane, through a gateway and over real sockets."""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator
from typing import cast

import msgspec
import pytest
from prometheus_client.parser import text_string_to_metric_families

from actors.errors import CallTimeout, OutcomeUnknown
from registry.api.app import create_app
from registry.api.asked import AskedRegistry
from registry.api.exposition import render
from registry.kinds import BackendStatus, Outcome
from registry.metrics import BackendMetrics, Histogram, Metrics, ServiceCounts, TrafficMetrics
from registry.models import Change
from tests.loops import on_loop
from tests.registry.gateway.stand_ins import World, get, post, world

METRICS = Metrics(
    epoch=2,
    revision=7,
    leases=3,
    backends=[BackendMetrics("a", BackendStatus.HEALTHY, 3), BackendMetrics("b/c", BackendStatus.UNHEALTHY, 0)],
    traffic=[TrafficMetrics("a", 'm "x"', Outcome.OK, 11), TrafficMetrics("a", "m", Outcome.CANCELLED, 1)],
    durations=[Histogram("a", [(0.1, 1), (1.0, 4), (math.inf, 5)], 6.5)],
    first_bytes=[Histogram("a", [(0.1, 5), (math.inf, 5)], 0.25)],
    http_errors={502: 2},
    services=ServiceCounts(registered=5, healthy=3),
)


class FakeReadable:
    """The part of a registry that the control plane reads, in memory."""

    def __init__(self) -> None:
        self.backends = METRICS.backends
        self.failure: Exception | None = None
        self.asked = 0
        self.silent = False
        self.changes: AsyncIterator[Change] | None = None
        self.past_allowed: asyncio.Event | None = None

    async def metrics(self) -> Metrics:
        self.asked += 1
        if self.silent:
            await asyncio.Event().wait()
        if self.failure is not None:
            raise self.failure
        return msgspec.structs.replace(METRICS, backends=self.backends)

    async def history(self, since: int | None, limit: int) -> list[Change]:
        del since, limit
        if self.past_allowed is not None:
            await self.past_allowed.wait()
        return []

    def watch(self, since: int | None) -> AsyncIterator[Change]:
        del since
        assert self.changes is not None
        return self.changes


def mounted(w: World) -> FakeReadable:
    """Put the control plane over a registry in memory into a gateway."""
    readable = FakeReadable()
    # What these tests are about asks nothing else; the rest is tested with a real registry.
    w.gateway.mount(create_app(cast("AskedRegistry", readable), leaving=w.gateway.leaving))
    return readable


@pytest.mark.parametrize(
    ("request_bytes", "status", "detail"),
    [
        (get("/nothing"), 404, "There is nothing at /nothing."),
        (get("/livez/"), 404, "There is nothing at /livez/."),
        (post(b"{}", path="/livez"), 405, "POST is not allowed for /livez."),
    ],
)
@on_loop
async def test_errors_are_problem_details(request_bytes: bytes, status: int, detail: str) -> None:
    """Errors outside `/v1` have the form of RFC 9457, and are counted."""
    async with world() as w:
        mounted(w)
        answer = await w.ask(request_bytes)
        assert (answer.status, answer.headers["content-type"]) == (status, "application/problem+json")
        problem = answer.json()
        assert list(problem) == ["type", "title", "status", "detail"]
        assert (problem["status"], problem["detail"]) == (status, detail)
        assert answer.headers.get("allow") == ("GET, HEAD" if status == 405 else None)
        assert w.registry.errors == [status]


@on_loop
async def test_silent_owner_makes_503() -> None:
    """A question the owner does not answer is a problem that may be over soon."""
    async with world() as w:
        mounted(w).failure = CallTimeout("no answer within 5 s")
        answer = await w.ask(get("/metrics"))
        assert (answer.status, answer.headers["retry-after"]) == (503, "1")


@on_loop
async def test_unknown_outcome_is_said() -> None:
    """Whoever does not know whether a change was made is told to look before it is sent again."""
    async with world() as w:
        mounted(w).failure = OutcomeUnknown("no answer within 5 s")
        problem = (await w.ask(get("/metrics"))).json()
        assert problem["status"] == 503
        assert problem["detail"].startswith("The change may have been made or not, look before you send it again:")


@on_loop
async def test_fault_of_the_control_plane_is_a_problem_too() -> None:
    """An error that nobody expected is answered with 500 and without its text; the log has it."""
    async with world() as w:
        mounted(w).failure = RuntimeError("secret")
        answer = await w.ask(get("/metrics"))
        assert (answer.status, answer.headers["content-type"]) == (500, "application/problem+json")
        assert answer.json()["detail"] == "The gateway failed on this request."


@on_loop
async def test_livez_asks_nobody() -> None:
    """`/livez` says that this process lives, whatever the owner does."""
    async with world() as w:
        readable = mounted(w)
        readable.silent = True
        assert (await w.ask(get("/livez"))).status == 200
        assert readable.asked == 0


@on_loop
async def test_readyz_tells_why_not() -> None:
    """`/readyz` is 200 while a request would be answered, else 503 with the reason."""
    async with world() as w:
        readable = mounted(w)
        peer = await w.connect()
        assert (await w.ask_on(peer, get("/readyz"))).status == 200
        readable.silent = True
        late = await w.ask_on(peer, get("/readyz"))
        assert (late.status, late.received) == (503, b"the owner did not answer within 1 s\n")
        readable.silent = False
        readable.failure = CallTimeout("late")
        assert (await w.ask_on(peer, get("/readyz"))).received == b"the owner does not answer: late\n"
        readable.failure = None
        readable.backends = readable.backends[1:]
        assert (await w.ask_on(peer, get("/readyz"))).received == b"no healthy backend\n"
        w.gateway.leaving.set()
        assert (await w.ask_on(peer, get("/readyz"))).received.startswith(b"draining")


@on_loop
async def test_metrics_page_is_prometheus_text() -> None:
    """`/metrics` is served in the form that Prometheus reads."""
    async with world() as w:
        mounted(w)
        answer = await w.ask(get("/metrics"))
        assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
        assert answer.received == render(METRICS)


def test_every_figure_is_described() -> None:
    """Each family has a text of its own, so that no two are taken for the same."""
    families = list(text_string_to_metric_families(render(METRICS).decode()))
    assert len({family.documentation for family in families}) == len(families)


def test_every_figure_is_exposed() -> None:
    """Each figure of the owner's snapshot appears once under its name, with its labels."""
    samples = {
        (sample.name, *sample.labels.values()): sample.value
        for family in text_string_to_metric_families(render(METRICS).decode())
        for sample in family.samples
    }
    prefix = "actor_registry_"
    assert samples == {
        (prefix + "epoch",): 2,
        (prefix + "revision",): 7,
        (prefix + "leases",): 3,
        (prefix + "backends", "healthy"): 1,
        (prefix + "backends", "unhealthy"): 1,
        (prefix + "backends", "unknown"): 0,
        (prefix + "backends", "draining"): 0,
        (prefix + "backends", "warming"): 0,
        (prefix + "backends", "rate_limited"): 0,
        (prefix + "backends", "misconfigured"): 0,
        (prefix + "services", "true"): 3,
        (prefix + "services", "false"): 2,
        (prefix + "pending_requests", "a"): 3,
        (prefix + "pending_requests", "b/c"): 0,
        (prefix + "requests_total", "a", 'm "x"', "ok"): 11,
        (prefix + "requests_total", "a", "m", "cancelled"): 1,
        (prefix + "request_duration_seconds_bucket", "a", "0.1"): 1,
        (prefix + "request_duration_seconds_bucket", "a", "1.0"): 4,
        (prefix + "request_duration_seconds_bucket", "a", "+Inf"): 5,
        (prefix + "request_duration_seconds_count", "a"): 5,
        (prefix + "request_duration_seconds_sum", "a"): 6.5,
        (prefix + "first_byte_seconds_bucket", "a", "0.1"): 5,
        (prefix + "first_byte_seconds_bucket", "a", "+Inf"): 5,
        (prefix + "first_byte_seconds_count", "a"): 5,
        (prefix + "first_byte_seconds_sum", "a"): 0.25,
        (prefix + "http_errors_total", "502"): 2,
    }
