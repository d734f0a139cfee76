"""The registry's own clock: heartbeats age while the registry runs, and not otherwise."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from actors.clock import ManualClock
from registry import commands as c
from registry.metrics import Metrics
from tests.registry.state.lives import Life
from tests.registry.state.test_services import get, service
from tests.registry.stores.journals import Flaky


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where the journal is."""
    return tmp_path / "registry.db"


@pytest.fixture
def life(path: Path) -> Iterator[Life]:
    """A registry with a service that was heard of 100 s ago."""
    life = Life(Flaky(path))
    life.tick()
    life.do(service())
    life.live(100.0)
    yield life
    life.journal.close()


def age_s(life: Life) -> float:
    """How old the service's heartbeat is on the registry's own clock."""
    services = life.actor.services
    beat = services.beats.get("s")
    assert beat is not None
    return 120.0 - (services.fresh_until(beat) - life.clock.monotonic())


def uptime_s(life: Life) -> float:
    """How long the system runs."""
    return msgspec.convert(life.do(c.GetMetrics()), Metrics).uptime_s


def test_age_of_a_heartbeat(life: Life) -> None:
    """It grows with the time that passes."""
    assert age_s(life) == 100.0


@pytest.mark.parametrize("down_s", [0.0, 1e9])
@pytest.mark.parametrize("monotonic_s", [0.0, 1e7])
def test_down_for_however_long(life: Life, path: Path, down_s: float, monotonic_s: float) -> None:
    """After a restart of everything, on the same boot of the machine or another, a heartbeat is as old as before."""
    life.engine.close()
    life.clock = ManualClock(monotonic_s, life.clock.wall() + down_s)
    life.next_system(Flaky(path))
    life.join(1)
    life.tick()
    assert age_s(life) == 100.0
    assert get(life).is_healthy
    assert get(life).last_heartbeat == 1_750_000_000.0
    life.live(19.5)
    assert get(life).is_healthy
    life.live(0.5)
    assert not get(life).is_healthy


@pytest.mark.parametrize("down_s", [0.1, 1e6])
def test_owner_dies(life: Life, down_s: float) -> None:
    """A successor goes on with the time of the last tick, and keeps the instants that it has told."""
    life.clock.advance(0.4)
    life.clock.advance(down_s)
    life.next_owner()
    life.tick()
    assert 99.5 <= age_s(life) <= 100.5
    beat = life.actor.services.beats.get("s")
    assert beat is not None
    told = life.actor.services.fresh_until(beat)
    life.live(10.0)
    assert life.actor.services.fresh_until(beat) == told


def test_heartbeats_know_the_time_better_than_the_last_tick(path: Path) -> None:
    """A heartbeat after the last tick of an owner is not in the future of its successor."""
    life = Life(Flaky(path))
    life.tick()
    life.do(service())
    life.tick(0.5)
    life.clock.advance(0.25)
    life.do(c.Heartbeat("s"))
    life.next_owner(Flaky(path))
    life.tick()
    assert age_s(life) == 0.0
    life.journal.close()


def test_wall_clock_is_set(life: Life) -> None:
    """By years, in either direction: nobody is older or younger for it."""
    for seconds in (1e9, -1.5e9):
        life.clock._wall += seconds
        life.live(1.0)
    assert age_s(life) == 102.0
    life.do(c.Heartbeat("s"))
    assert get(life).last_heartbeat == life.clock.wall()


def test_everything_was_stopped(life: Life) -> None:
    """What no tick was made in does not count; whoever is heard of before the next tick is not put into the future."""
    life.do(service("late"))
    life.clock.advance(1_000.0)
    life.do(c.Heartbeat("late"))
    life.tick()
    assert age_s(life) == 100.0
    late = life.actor.services.beats.get("late")
    assert late is not None
    assert life.actor.services.fresh_until(late) == life.clock.monotonic() + 120.0


def test_uptime(life: Life, path: Path) -> None:
    """It goes on with a new owner, and begins anew with a new system."""
    assert uptime_s(life) == 100.0
    life.clock.advance(7.0)
    life.next_owner(Flaky(path))
    assert uptime_s(life) == 107.0
    life.tick()
    assert uptime_s(life) == 107.0
    life.next_system(Flaky(path))
    life.join(1)
    life.tick(1.0)
    life.tick(1.0)
    assert uptime_s(life) == 1.0


def test_nothing_is_written_without_services(path: Path) -> None:
    """Time passes silently while there is nobody to grow older."""
    life = Life(Flaky(path))
    life.tick()
    size = life.engine.ledger.log_bytes
    life.live(10.0)
    assert life.engine.ledger.log_bytes == size
    life.journal.close()
