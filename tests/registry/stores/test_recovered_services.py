"""What a recovery keeps of services, and what the next owner makes right."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import pytest

from registry import commands as c
from registry.stores.recovery import recover
from tests.registry.state.lives import Life
from tests.registry.stores.damage import TABLES, pages_of, wreck
from tests.registry.stores.journals import Flaky

NAMES = [f"s{number * 7 % 60:02}" for number in range(60)]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A journal of services that are backends."""
    path = tmp_path / "registry.db"
    journal = Flaky(path)
    life = Life(journal)
    life.tick()
    for name in NAMES:
        said = {"type": "openai-api", "models": ["m"]}
        life.do(c.RegisterService(name, "h", 1, "h", f"http://{name}:1", "running", said, "then"))
    life.live(10.0)
    journal.close()
    return path


def started(path: Path) -> Life:
    """A registry with a recovered journal, after its first tick."""
    recover(path, TABLES)
    life = Life(Flaky(path))
    life.tick()
    return life


@pytest.mark.parametrize("damaged", ["journal", "backends", "beats", "lifetime"])
def test_other_tables_are_damaged(path: Path, damaged: str) -> None:
    """All services are there in their order, alive, and each with its one backend."""
    wreck(path, *pages_of(path, damaged))
    life = started(path)
    services = life.actor.services
    assert list(services.records) == NAMES
    assert set(services.beats) == set(NAMES)
    now_s = life.clock.monotonic()
    for beat in services.beats.values():
        assert now_s < services.fresh_until(beat) <= now_s + 120.0
    assert {state.record.url for state in life.backends()} == {f"http://{name}:1" for name in NAMES}
    life.journal.close()


def test_services_are_damaged(path: Path) -> None:
    """Of those that are lost nothing remains: no heartbeat, no backend."""
    wreck(path, pages_of(path, "services")[0])
    life = started(path)
    services = life.actor.services
    left = list(services.records)
    assert 0 < len(left) < len(NAMES)
    assert left == [name for name in NAMES if name in services.records]
    assert set(services.beats) == set(left)
    assert {state.record.url for state in life.backends()} == {f"http://{name}:1" for name in left}
    with closing(Flaky(path)) as journal:
        assert {key for name, key, _ in journal.load().rows if name == "backends"} == {f"{name}:1" for name in left}
    life.journal.close()
