"""The checker between the owner and the probes; the owner here is a stand-in with the two calls that matter."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import pytest

from actors.clock import Clock, ManualClock
from actors.errors import CallTimeout, Overloaded, SystemStopped
from registry.health import checker as checker_module
from registry.health.checker import Checker
from registry.health.findings import Finding
from registry.kinds import BackendStatus
from registry.models import Model
from registry.state.probe_records import ProbeOrder
from tests.loops import on_loop
from tests.registry.health.stand_in import order

WELL = Finding(status=BackendStatus.HEALTHY, latency_ms=7, models=[Model(id="m")])


class Owner:
    """Hands out what a test puts in, urgent or not.

    Attributes:
        asked: How many orders were asked for at each call, and whether only urgent ones.
        reports: The number, status and other words of each report.
        failures: Errors that the next calls of either kind end with.
    """

    def __init__(self) -> None:
        self.background: asyncio.Queue[ProbeOrder] = asyncio.Queue()
        self.urgent: asyncio.Queue[ProbeOrder] = asyncio.Queue()
        self.asked: list[tuple[int, bool]] = []
        self.reports: asyncio.Queue[tuple[int, BackendStatus, dict[str, Any]]] = asyncio.Queue()
        self.failures: list[Exception] = []

    async def next_probes(self, most: int, *, urgent_only: bool = False) -> list[ProbeOrder]:
        assert most > 0
        self.asked.append((most, urgent_only))
        if self.failures and not urgent_only:
            raise self.failures.pop(0)
        orders = self.urgent if urgent_only else self.background
        due = [await orders.get()]
        while len(due) < most and not orders.empty():
            due.append(orders.get_nowait())
        return due

    async def report_probe(
        self,
        number: int,
        status: BackendStatus,
        *,
        error: str | None = None,
        latency_ms: int | None = None,
        models: Sequence[Model] | None = None,
        retry_after_s: float | None = None,
    ) -> None:
        words = {"error": error, "latency_ms": latency_ms, "models": models, "retry_after_s": retry_after_s}
        self.reports.put_nowait((number, status, words))
        if number < 0:
            raise CallTimeout("nobody knows")


class Probes:
    """Probes that end when a test says so.

    Attributes:
        running: The numbers of those that run.
        most: How many ran at the same time at most.
        hung: Whether those that begin now wait for `release`.
    """

    def __init__(self) -> None:
        self.running: set[int] = set()
        self.most = 0
        self.hung = False
        self.release = asyncio.Event()

    async def __call__(self, order: ProbeOrder) -> Finding:
        assert order.number not in self.running
        self.running.add(order.number)
        self.most = max(self.most, len(self.running))
        try:
            if self.hung:
                await self.release.wait()
            else:
                await asyncio.sleep(0)
            if order.name == "unforeseen":
                raise ZeroDivisionError
            return WELL
        finally:
            self.running.discard(order.number)


@asynccontextmanager
async def checking(owner: Owner, probe: Probes, clock: Clock | None = None, **lanes: int) -> AsyncIterator[Checker]:
    """A checker that goes on within the block."""
    checker = Checker(owner, probe, clock=clock, **lanes)
    task = asyncio.create_task(checker.run())
    try:
        yield checker
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def reported(owner: Owner, count: int) -> dict[int, BackendStatus]:
    """The next so many reports: the status by number, each number once."""
    reports = [await owner.reports.get() for _ in range(count)]
    statuses = {number: status for number, status, _ in reports}
    assert len(statuses) == count
    return statuses


async def turns(count: int = 20) -> None:
    """Let everything that can go on do so."""
    for _ in range(count):
        await asyncio.sleep(0)


@on_loop
async def test_everything_due_is_probed_and_reported() -> None:
    """What is handed out is probed once and reported with all that was found."""
    owner = Owner()
    async with checking(owner, Probes()) as checker:
        for number in range(1, 101):
            owner.background.put_nowait(order("http://x", number=number))
        first = await owner.reports.get()
        assert first[1:] == (
            BackendStatus.HEALTHY,
            {"error": None, "latency_ms": 7, "models": [Model(id="m")], "retry_after_s": None},
        )
        assert {first[0], *await reported(owner, 99)} == set(range(1, 101))
        await checker.idle.wait()


@on_loop
async def test_probes_are_bounded_and_urgent_ones_have_places_of_their_own() -> None:
    """Hung targets take the places of the background; what somebody waits for is probed all the same."""
    owner, probes = Owner(), Probes()
    probes.hung = True
    async with checking(owner, probes, background=4, urgent=2):
        for number in range(1, 11):
            owner.background.put_nowait(order("http://x", number=number))
        await turns()
        assert probes.running == {1, 2, 3, 4}
        probes.hung = False
        owner.urgent.put_nowait(order("http://x", number=99, urgent=True))
        assert await reported(owner, 1) == {99: BackendStatus.HEALTHY}
        probes.release.set()
        assert set(await reported(owner, 10)) == set(range(1, 11))
    assert probes.most == 5
    assert owner.asked[:2] == [(4, False), (2, True)]


@on_loop
async def test_order_that_is_too_old_is_not_begun() -> None:
    """A checker that was stopped leaves alone what the owner hands out again: nothing is probed twice at once."""
    owner, probes, clock = Owner(), Probes(), ManualClock()
    probes.hung = True
    async with checking(owner, probes, clock):
        now_s = clock.monotonic()
        owner.background.put_nowait(order("http://x", number=1, begin_until_s=now_s - 1))
        owner.background.put_nowait(order("http://x", number=2, begin_until_s=now_s + 1))
        await turns()
        assert probes.running == {2}


@on_loop
async def test_probe_that_nobody_foresaw_ends_nothing(caplog: pytest.LogCaptureFixture) -> None:
    """An error within a probe is that target's finding; the others are probed, and it is logged."""
    owner = Owner()
    async with checking(owner, Probes()):
        owner.background.put_nowait(order("http://x", number=1, name="unforeseen"))
        owner.background.put_nowait(order("http://x", number=2))
        reports = {
            number: (status, words["error"]) for number, status, words in [await owner.reports.get() for _ in "12"]
        }
        assert reports == {
            1: (BackendStatus.UNHEALTHY, "the probe itself failed: ZeroDivisionError"),
            2: (BackendStatus.HEALTHY, None),
        }
    assert "the probe of backend unforeseen failed" in caplog.text


@on_loop
async def test_owner_that_is_away_is_asked_again(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Nothing to probe for a long time, an owner that refuses, and a report that is lost: the checker goes on."""
    monkeypatch.setattr(checker_module, "RETRY_S", 0.0)
    owner = Owner()
    owner.failures = [CallTimeout("nothing"), Overloaded("busy"), CallTimeout("nothing")]
    with caplog.at_level(logging.WARNING):
        async with checking(owner, Probes()):
            for number in (-1, 2):
                owner.background.put_nowait(order("http://x", number=number))
            assert set(await reported(owner, 2)) == {-1, 2}
            owner.background.put_nowait(order("http://x", number=3))
            assert set(await reported(owner, 1)) == {3}
    assert caplog.text.count("the owner does not say what is to be probed") == 1
    assert "what was found of backend b could not be noted" in caplog.text


@on_loop
async def test_end_of_the_session_ends_the_checker() -> None:
    """When the session with the owner is over, so is the checker; a new process begins a new one."""
    owner = Owner()
    owner.failures = [SystemStopped("over")]
    with pytest.raises(SystemStopped):
        await Checker(owner, Probes()).run()


@on_loop
async def test_it_is_known_when_the_first_findings_are_there() -> None:
    """It has begun when there was something to probe, and is idle again when all of that was reported."""
    owner, probes = Owner(), Probes()
    probes.hung = True
    async with checking(owner, probes) as checker:
        await turns()
        assert not checker.begun.is_set()
        assert checker.idle.is_set()
        owner.background.put_nowait(order("http://x", number=1))
        await checker.begun.wait()
        assert not checker.idle.is_set()
        probes.release.set()
        await checker.idle.wait()
        assert owner.reports.qsize() == 1
