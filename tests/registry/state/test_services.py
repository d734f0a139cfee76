"""Services: registered, heard of, found silent, removed."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.errors import CommandInvalid, StorageUnavailable
from registry import commands as c
from registry.errors import InvalidField, ServiceNotFound
from registry.state.service_metadata import MAX_DEPTH
from registry.state.service_records import MAX_SERVICE_BYTES, ServiceView
from registry.state.silence import AGAIN_S, MOST_AT_ONCE, ROOM, Oldest
from tests.registry.state.driver import State, backend
from tests.registry.state.lives import Life
from tests.registry.stores.journals import Flaky


def service(name: str = "s", **said: Any) -> c.RegisterService:
    """The registration of a service that runs."""
    defaults = {"host": "h", "port": 80, "hostname": "hn", "url": "http://h:80", "status": "running"}
    return c.RegisterService(name, **{**defaults, **said})


def get(life: Life, name: str = "s") -> ServiceView:
    """A service as it is handed out."""
    return msgspec.convert(life.do(c.GetService(name)), ServiceView)


def names(life: Life) -> list[str]:
    """All services, in their order."""
    return list(life.actor.services.records)


def test_first_registration() -> None:
    """A service that was just registered is healthy, not probed yet, and has the time with its offset."""
    life = Life()
    view = msgspec.convert(life.do(service(metadata={"a": [1, None]})), ServiceView)
    assert view == get(life)
    assert (view.is_healthy, view.health_status, view.last_heartbeat) == (True, "unknown", 1_750_000_000.0)
    assert view.timestamp == "2025-06-15T15:06:40+00:00"
    assert view.metadata == {"a": [1, None]}


def test_registering_again_replaces_everything_but_the_place() -> None:
    """An upsert: what is not said again is gone, the place in the list stays, also in the file."""
    life = Life()
    for name in ("a", "b", "c"):
        life.do(service(name, metadata={"x": 1}, timestamp="then"))
    life.do(service("b", host="other"))
    assert names(life) == ["a", "b", "c"]
    view = get(life, "b")
    assert (view.host, view.metadata, view.timestamp) == ("other", {}, "2025-06-15T15:06:40+00:00")
    life.next_owner()
    assert names(life) == ["a", "b", "c"]


def test_registering_again_in_the_same_words_is_a_heartbeat(tmp_path: Path) -> None:
    """It is no change in the history, but the time of registration is the new one and outlives all that follows."""
    path = tmp_path / "registry.db"
    life = Life(Flaky(path))
    life.do(service("s", metadata={"n": 1}))
    revision = life.engine.turn.revision
    life.clock.advance(7.0)
    view = msgspec.convert(life.do(service("s", metadata={"n": 1})), ServiceView)
    assert (view.timestamp, view.last_heartbeat) == ("2025-06-15T15:06:47+00:00", 1_750_000_007.0)
    life.do(c.Heartbeat("s"))
    life.do(c.Heartbeats(["s"]))
    assert life.engine.turn.revision == revision
    life.next_owner(Flaky(path))
    assert get(life, "s").timestamp == view.timestamp
    life.engine.close()
    life.next_system(Flaky(path))
    life.join(2)
    assert msgspec.convert(life.do(c.GetService("s"), 2), ServiceView).timestamp == view.timestamp
    life.do(service("s", metadata={"n": 1.0}, timestamp="then"), 2)
    assert life.engine.turn.revision == revision + 1
    assert msgspec.convert(life.do(c.GetService("s"), 2), ServiceView).timestamp == "then"
    life.journal.close()


def test_an_empty_time_of_registration_is_one() -> None:
    """Who says it, be it in the same words as before, gets it back."""
    life = Life()
    life.do(service("s", timestamp="then"))
    for said in ("", "now", ""):
        assert msgspec.convert(life.do(service("s", timestamp=said)), ServiceView).timestamp == said
        assert get(life, "s").timestamp == said


def test_several_heartbeats_at_once() -> None:
    """They cost no change; who is unknown, or would become healthy by it, is handed back and nothing was done."""
    life = Life()
    for name in ("a", "b", "stopped", "silent"):
        life.do(service(name))
    life.do(c.Heartbeat("stopped", "stopped"))
    life.live(100.0)
    life.do(c.Heartbeats(["a", "b"]))
    life.live(30.0)
    before = get(life, "silent")
    revision = life.engine.turn.revision
    assert not before.is_healthy
    assert life.do(c.Heartbeats(["a", "nobody", "silent", "stopped", "b"])) == ["nobody", "silent"]
    assert [get(life, name).last_heartbeat for name in ("a", "b", "stopped")] == [life.clock.wall()] * 3
    assert get(life, "silent") == before
    assert life.engine.turn.revision == revision


def test_too_many_heartbeats_at_once() -> None:
    """The owner does nothing else meanwhile, so there is a limit."""
    with pytest.raises(CommandInvalid, match="1000"):
        Life().do(c.Heartbeats(["s"] * 1_001))


def test_order_outlives_everything_but_the_file(tmp_path: Path) -> None:
    """Services stand in the order of their first registration, and one that came back after its removal at the end."""
    path = tmp_path / "registry.db"
    life = Life(Flaky(path))
    for name in ("z", "b", "a", "m"):
        life.do(service(name))
    life.say(c.RemoveService("b"))
    life.say(service("b"))
    life.say(service("z", host="new"))
    life.commit()
    assert names(life) == ["z", "a", "m", "b"]
    life.engine.close()
    life.next_system(Flaky(path))
    assert names(life) == ["z", "a", "m", "b"]
    life.journal.close()


def test_update_changes_only_what_is_given() -> None:
    """It is a heartbeat, keeps the time of registration and what probes have found, and the rest as it was."""
    life = Life()
    life.do(service(metadata={"a": 1}, timestamp="then"))
    life.clock.advance(7.0)
    view = msgspec.convert(life.do(c.UpdateService("s", port=81)), ServiceView)
    assert (view.port, view.host, view.metadata, view.timestamp) == (81, "h", {"a": 1}, "then")
    assert view.last_heartbeat == 1_750_000_007.0


@pytest.mark.parametrize("before", [1, 1.0, True])
@pytest.mark.parametrize("after", [1, 1.0, True])
def test_numbers_of_one_value_are_different_metadata(before: Any, after: Any) -> None:
    """What is handed out is what was sent last, to the letter."""
    life = Life()
    life.do(service(metadata={"n": before}))
    life.do(c.UpdateService("s", metadata={"n": after}))
    assert repr(get(life).metadata["n"]) == repr(after)


@pytest.mark.parametrize("command", [c.UpdateService("s"), c.Heartbeat("s"), c.RemoveService("s"), c.GetService("s")])
def test_unknown_service(command: c.Command) -> None:
    """Whoever was never registered, or removed, is told so by name."""
    life = Life()
    life.do(service())
    life.do(c.RemoveService("s"))
    with pytest.raises(ServiceNotFound, match=r"^Service 's' not found$"):
        life.do(command)


def nested(depth: int) -> dict[str, Any]:
    """Metadata in which so many objects are within one another."""
    return {"in": nested(depth - 1)} if depth > 1 else {}


REFUSED = {
    "NaN": {"a": [math.nan]},
    "infinity": {"a": math.inf},
    "bytes": {"a": {"b": b"x"}},
    "numbers as keys": {"a": {1: 2}},
    "depth": nested(MAX_DEPTH + 1),
    "depth of lists": {"a": [[*nested(MAX_DEPTH).values()]]},
    "length": {"a": "x" * MAX_SERVICE_BYTES},
    "length in bytes": {"a": "ü" * (MAX_SERVICE_BYTES // 2)},
}


@pytest.mark.parametrize("metadata", REFUSED.values(), ids=REFUSED)
def test_metadata_that_cannot_be_kept(metadata: dict[str, Any]) -> None:
    """It is refused with the name of the field, and the service is as it was, down to its heartbeat."""
    life = Life()
    life.do(service(metadata={"a": 1}))
    before = get(life)
    life.clock.advance(1.0)
    for command in (service(metadata=metadata), c.UpdateService("s", host="new", metadata=metadata)):
        with pytest.raises(InvalidField) as refusal:
            life.do(command)
        assert refusal.value.field == "metadata"
    assert get(life) == before


def test_metadata_at_its_limits(tmp_path: Path) -> None:
    """The deepest, the longest and the largest numbers are kept, and read again by the next owner."""
    path = tmp_path / "registry.db"
    life = Life(Flaky(path))
    kept = {
        "deep": nested(MAX_DEPTH),
        "long": {"a": "x" * (MAX_SERVICE_BYTES - len('{"a":""}'))},
        "numbers": {"a": [2**64 - 1, -(2**63), 1e308, 5e-324, -0.0]},
    }
    for name, metadata in kept.items():
        life.do(service(name, metadata=metadata))
    life.next_owner(Flaky(path))
    assert {name: get(life, name).metadata for name in kept} == kept
    life.journal.close()


def test_silent_service() -> None:
    """It is healthy for less than 120 s after its heartbeat, and is told unhealthy at that moment, tick or not."""
    life = Life()
    life.tick()
    life.do(service())
    life.live(119.5)
    assert get(life).is_healthy
    assert life.engine.turn.revision == 1
    life.clock.advance(0.5)
    assert not get(life).is_healthy
    assert life.engine.turn.revision == 1
    life.engine.tick()
    life.commit()
    assert not life.actor.services.require("s").is_healthy
    assert life.engine.turn.revision == 2
    life.do(c.Heartbeat("s"))
    assert life.actor.services.require("s").is_healthy
    assert life.engine.turn.revision == 3


def test_stale_service_goes_with_the_next_clean_up() -> None:
    """After more than 300 s, at the end of a minute; exactly 300 s are not more."""
    life = Life()
    life.tick()
    life.do(service())
    life.live(300.0)
    assert names(life) == ["s"]
    life.live(59.5)
    assert names(life) == ["s"]
    life.live(0.5)
    assert names(life) == []
    with pytest.raises(ServiceNotFound):
        life.do(c.Heartbeat("s"))


def test_heartbeats_keep_a_service_for_ever() -> None:
    """A heartbeat every 30 s is enough, and none of them is a change in the history."""
    life = Life()
    life.tick()
    life.do(service())
    for _ in range(40):
        life.live(30.0)
        life.do(c.Heartbeat("s"))
    assert (names(life), life.engine.turn.revision) == (["s"], 1)


def test_one_change_for_each_transition() -> None:
    """Many that fall silent together are as many changes, each of one row; a tick has only so many of them."""
    state = State()
    state.tick()
    for number in range(MOST_AT_ONCE + 1):
        state.apply(service(f"s{number}"))
    state.revision = 0
    state.changes.clear()
    for _ in range(240):
        state.now_s += 0.5
        state.tick()
    assert state.revision == MOST_AT_ONCE
    state.now_s += 0.5
    state.tick()
    assert state.revision == MOST_AT_ONCE + 1
    changed = [change.key for change in state.changes if change.table is state.actor.services.records]
    assert changed == [f"s{number}" for number in range(MOST_AT_ONCE + 1)]


def test_full_disk_keeps_nothing_else_from_its_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Leases expire although what has become of services cannot be stored; that is tried again now and then."""
    journal = Flaky(tmp_path / "registry.db")
    tried = []
    commit = journal.commit

    def refuse(*turn: Any) -> None:
        tried.append(turn)
        commit(*turn)

    life = Life(journal)
    life.tick()
    life.do(service())
    life.do(c.AddBackend(backend("a", "m")))
    life.acquire(lease_s=121.0)
    life.live(119.0)
    journal.fails = True
    monkeypatch.setattr(journal, "commit", refuse)
    life.live(3.0)
    assert len(tried) == 1
    assert not len(life.actor.leases.records)
    assert life.actor.services.require("s").is_healthy
    assert not get(life).is_healthy
    with pytest.raises(StorageUnavailable):
        life.do(c.RemoveService("s"))
    journal.fails = False
    life.live(AGAIN_S + 1.0)
    assert not life.actor.services.require("s").is_healthy
    life.journal.close()


def test_session_end_leaves_services_alone() -> None:
    """They belong to nobody."""
    life = Life()
    life.do(service(), session=2)
    life.end(2)
    assert names(life) == ["s"]


def test_heartbeat_that_was_not_saved_is_as_if_it_came_with_the_next_start(tmp_path: Path) -> None:
    """A service whose registration survived and whose heartbeat did not is alive; a left over heartbeat is dropped."""
    path = tmp_path / "registry.db"
    journal = Flaky(path)
    life = Life(journal)
    life.tick()
    life.do(service())
    life.clock.advance(1e6)
    journal.save([("beats", "gone", (1.0, 2.0))])
    journal.close()
    life.next_system(Flaky(path))
    life.tick()
    life.join(1)
    assert get(life).is_healthy
    assert list(life.actor.services.beats) == ["s"]
    life.journal.close()


@pytest.mark.parametrize(
    ("said", "url"),
    [
        ({}, "http://h/health"),
        ({"url": "http://h:81/base/"}, "http://h:81/base/health"),
        ({"url": "http://0.0.0.0:81"}, "http://127.0.0.1:81/health"),
        ({"url": "http://h?x"}, None),
        ({"url": "nonsense"}, None),
        ({"metadata": {"type": "openai-api"}}, "http://h:81/health"),
        ({"metadata": {"type": "openai-api"}, "host": "::1"}, "http://[::1]:81/health"),
        ({"metadata": {"type": "openai-api"}, "port": 65_535}, None),
        ({"metadata": {"type": "openai-api"}, "host": "h/x?"}, None),
        ({"metadata": {"type": ["openai-api"]}}, "http://h/health"),
    ],
)
def test_where_a_service_is_probed(said: dict[str, Any], url: str | None) -> None:
    """The babysitter of a backend on the next port, any other service itself, and nobody where there is no address."""
    life = Life()
    life.do(service(**said))
    assert life.actor.services.probe_url("s") == url


def test_cost_does_not_depend_on_how_many_there_are() -> None:
    """With 10,000 services a tick looks at nobody whose time has not come, however many are heard of meanwhile."""
    state = State()
    state.tick()
    for number in range(10_000):
        state.apply(service(f"s{number}"))
    looked: list[str] = []
    silence = state.actor.services._silence

    def heard_s(name: str) -> float:
        looked.append(name)
        return state.actor.services._heard_s(name)

    silence.healthy._instant_of = silence.all._instant_of = heard_s
    for _ in range(100):
        state.now_s += 0.5
        state.tick()
        state.apply(c.Heartbeat("s0"))
    assert looked == []


def test_each_is_looked_at_once_in_a_while() -> None:
    """One that is heard of all the time is looked at when what was noted of it is old, and then not for as long."""
    instants = {"a": 1.0, "b": 2.0}
    looked: list[str] = []

    def instant_of(name: str) -> float:
        looked.append(name)
        return instants[name]

    oldest = Oldest(instant_of)
    for name, instant in instants.items():
        oldest.put(name, instant)
    for now in range(3, 200):
        instants["a"] = now
        assert oldest.before(now - 100, 10, or_at=True) == (["b"] if now >= 102 else [])
    assert looked.count("a") == 1


@given(st.lists(st.tuples(st.sampled_from("abc"), st.none() | st.integers(-1, 9)), max_size=30))
def test_names_are_found_in_order_after_any_sequence(steps: list[tuple[str, int | None]]) -> None:
    """Whatever comes, goes, moves on or is set back, as when a change is reverted, is found in its turn."""
    instants: dict[str, float] = {}
    oldest = Oldest(instants.__getitem__)
    for name, to in steps:
        if to is None:
            instants.pop(name, None)
            oldest.discard(name)
        elif to >= 0:
            instants[name] = to
            oldest.put(name, to)
        elif name in instants:
            instants[name] += 1  # it moves on, and nobody says so
        in_order = sorted(instants.values())
        for limit in (3, 8, 20):
            for or_at in (True, False):
                expected = [at for at in in_order if at < limit or (at == limit and or_at)]
                for most in (1, 10):
                    found = oldest.before(limit, most, or_at=or_at)
                    assert [instants[name] for name in found] == expected[:most]
                    assert len(set(found)) == len(found)


def test_what_was_forgotten_is_cleared_up() -> None:
    """One that comes and goes again and again takes no memory for it."""
    oldest = Oldest(lambda _: 0.0)
    for number in range(5_000):
        oldest.put("a", float(number))
        oldest.discard("a")
    oldest.put("a", 0.0)
    assert len(oldest._heap) <= ROOM + 3
    assert oldest.before(1.0, 10, or_at=True) == ["a"]
