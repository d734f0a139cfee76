"""Any sequence of what services do and what becomes of them, beside a model of it that is too simple to be wrong."""

from __future__ import annotations

import copy
import tempfile
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from actors.clock import ManualClock
from actors.errors import StorageUnavailable
from actors.owner import TICK_S
from registry import commands as c
from registry.errors import LeaseNotFound, ServiceNotFound
from registry.kinds import DiscoverySource
from registry.state.lifetime import STOPPED_S
from registry.urls import server_key
from tests.registry.state.driver import backend
from tests.registry.state.expected_services import RULES, SERVERS, ExpectedServices, Service
from tests.registry.state.lives import Life
from tests.registry.state.pictures import done_twice, picture, rebuilt
from tests.registry.stores.journals import Flaky

NAMES = ("a", "b/ü", "c")
KEYS = {"one": "http://gpu:8000", "two": "http://127.0.0.1:9000"}

names = st.sampled_from(("a", "a", *NAMES))
# Most of them name a server, so that there are backends most of the time.
urls = st.sampled_from([*SERVERS, "http://gpu:8000", "http://gpu:8000", "http://localhost:9000"])
statuses = st.sampled_from(("running", "running", "stopped", ""))
metadata = st.sampled_from(
    (
        {},
        {"type": "openai-api", "models": ["m"]},
        {"type": "openai-api", "models": ["m"]},
        {"type": "openai-api", "models": ["n", "o"]},
        {"type": "openai-api", "models": ["m", "n", "m", 7, None, ""]},
        {"type": "openai-api", "models": "m"},
        {"type": "openai-api", "n": 1},
        {"type": "openai-api", "n": 1.0},
        {"type": "other", "models": ["m"]},
    )
)
ticks = st.integers(1, 12)


class ServiceMachine(ExpectedServices, RuleBasedStateMachine):
    """The registry and the model of it, told the same."""

    def __init__(self) -> None:
        RuleBasedStateMachine.__init__(self)
        ExpectedServices.__init__(self)
        self.directory = tempfile.TemporaryDirectory()
        self.path = Path(self.directory.name) / "registry.db"
        self.journal = Flaky(self.path)
        self.life = Life(self.journal, sessions=(1,), rules=RULES)
        self.session = 1
        self.life.tick()

    # -- every step is also undone and done again --------------------------------------------------------------

    def do(self, step: Callable[[], Any]) -> Any:
        """Make a step; what it changes is reverted and restored, and then stored."""
        result = done_twice(self.life.engine, step)
        self.life.commit()
        return result

    def tell(self, command: c.Command) -> Any:
        return self.life.answer(self.do(lambda: self.life.say(command, self.session)))

    @property
    def wall_s(self) -> float:
        return self.life.clock.wall()

    def known(self, name: str, command: c.Command) -> bool:
        """Whether there is such a service; if there is not, the command must be refused."""
        if name not in self.services:
            before = picture(self.life.engine)
            with pytest.raises(ServiceNotFound):
                self.tell(command)
            assert picture(self.life.engine) == before
        return name in self.services

    def changed(self, before: Service, after: Service) -> None:
        """A change takes a revision if it is one of anything but the heartbeat and the time of the registration."""
        old, new = (msgspec.structs.replace(one, beat_s=0.0, beat_wall_s=0.0, timestamp="") for one in (before, after))
        self.revision += msgspec.json.encode(old) != msgspec.json.encode(new)

    # -- what services do --------------------------------------------------------------------------------------

    @rule(name=names, url=urls, status=statuses, metadata=metadata, stamp=st.none() | st.just("then"))
    def register(self, name: str, url: str, status: str, metadata: dict[str, Any], stamp: str | None) -> None:
        self.tell(c.RegisterService(name, "h", 8000, "hn", url, status, metadata, stamp))
        said = {
            "host": "h",
            "port": 8000,
            "hostname": "hn",
            "url": url,
            "status": status,
            "metadata": metadata,
        }
        service = Service(said, 0.0, 0.0, stamp or datetime.fromtimestamp(self.wall_s, UTC).isoformat())
        self.heard_of(service, self.wall_s)
        before = self.services.get(name)
        if before is None:
            self.revision += 1
        else:
            self.changed(before, service)
        self.services[name] = service

    @rule(name=names, stamp=st.none() | st.just("now"))
    def register_again(self, name: str, stamp: str | None) -> None:
        """In the same words."""
        if name in self.services:
            said = self.services[name].said
            self.register(name, said["url"], said["status"], said["metadata"], stamp)

    @rule(
        name=names,
        said=st.fixed_dictionaries({}, optional={"url": urls, "status": statuses, "metadata": metadata, "port": ticks}),
    )
    def update(self, name: str, said: dict[str, Any]) -> None:
        command = c.UpdateService(name, **said)
        if self.known(name, command):
            self.tell(command)
            service = self.services[name]
            before = copy.deepcopy(service)
            service.said |= said
            self.heard_of(service, self.wall_s)
            self.changed(before, service)

    @rule(name=names, status=st.none() | statuses)
    def heartbeat(self, name: str, status: str | None) -> None:
        command = c.Heartbeat(name, status)
        if self.known(name, command):
            self.tell(command)
            service = self.services[name]
            before = copy.deepcopy(service)
            if status is not None:
                service.said["status"] = status
            self.heard_of(service, self.wall_s)
            self.changed(before, service)

    @rule(several=st.lists(names))
    def heartbeats(self, several: list[str]) -> None:
        """Those of which a heartbeat changes something, and those that nobody knows, are left to one of their own."""
        left = self.tell(c.Heartbeats(several))
        expected = []
        for name in several:
            service = self.services.get(name)
            if service is None or service.noted != (service.said["status"] == "running"):
                expected.append(name)
            else:
                self.heard_of(service, self.wall_s)
        assert left == expected

    @rule(name=names)
    def remove(self, name: str) -> None:
        command = c.RemoveService(name)
        if self.known(name, command):
            self.tell(command)
            del self.services[name]
            self.revision += 1

    @rule(name=names, healthy=st.booleans(), alive=st.booleans())
    def probe(self, name: str, healthy: bool, alive: bool) -> None:
        if name in self.services:
            life = self.life
            probed = life.actor.services.probed
            self.do(
                lambda: life.engine._happen(0, "probe", lambda context: probed(name, healthy, context, alive=alive))
            )
            service = self.services[name]
            before = copy.deepcopy(service)
            service.health_status = "healthy" if healthy else "unhealthy"
            if alive:
                self.heard_of(service, self.wall_s)
            self.changed(before, service)

    # -- backends by hand --------------------------------------------------------------------------------------

    @rule(id=st.sampled_from(("x", "gpu:8000")), server=st.sampled_from([*KEYS]))
    def add_by_hand(self, id: str, server: str) -> None:
        url = f"{KEYS[server]}/v1"
        moved = id in self.by_hand and self.by_hand[id] != server
        present = self.life.actor.backends.records.get(id)
        self.tell(c.PutBackend(backend(id, "z", url=url)))
        self.by_hand[id] = server
        self.revision += present is None or present.url != url or moved

    @precondition(lambda self: self.by_hand)
    @rule(data=st.data())
    def remove_by_hand(self, data: st.DataObject) -> None:
        id = data.draw(st.sampled_from(sorted(self.by_hand)))
        self.tell(c.RemoveBackend(id))
        del self.by_hand[id]
        self.revision += 1

    # -- time --------------------------------------------------------------------------------------------------

    @rule(count=ticks)
    def time_passes(self, count: int) -> None:
        for _ in range(count):
            self.life.clock.advance(TICK_S)
            self.lived_s += TICK_S
            self.life.tick()
            self.ticked()

    @rule(seconds=st.sampled_from((-1e9, -3_600.0, 86_400.0)))
    def the_wall_clock_is_set(self, seconds: float) -> None:
        """Nobody is older for it."""
        self.life.clock._wall = max(1e9, self.life.clock._wall + seconds)

    @rule()
    def all_processes_are_stopped(self) -> None:
        """The registry did not run, so nobody grew older."""
        stopped_s = 100 * STOPPED_S
        self.life.clock.advance(stopped_s)
        self.lived_s += stopped_s
        self.life.tick()
        for service in self.services.values():
            service.beat_s += stopped_s
        self.ticked()

    @rule(name=names)
    def a_batch_fails(self, name: str) -> None:
        """Nothing of it remains."""
        batch = [
            c.RegisterService(name, "h", 1, "h", "http://gpu:8000", "running", {"type": "openai-api"}),
            c.Heartbeat(name, "stopped"),
            c.UpdateService(name, metadata={}),
            c.Release(2**60),
        ]
        before = picture(self.life.engine)
        call = self.do(lambda: self.life.say_batch(batch, self.session, atomic=True))
        with pytest.raises(LeaseNotFound):
            self.life.answer(call)
        assert picture(self.life.engine) == before

    @rule(name=names)
    def the_disk_is_full(self, name: str) -> None:
        """What must be stored is refused; what need not be stored is done."""
        service = self.services.get(name)
        before = picture(self.life.engine).rows["services"]
        self.journal.fails = True
        try:
            with pytest.raises(StorageUnavailable):
                self.tell(c.RegisterService(name, "new", 1, "h", "http://gpu:8000", "running"))
            if service is not None and service.noted == (service.said["status"] == "running"):
                self.tell(c.Heartbeat(name))
                self.heard_of(service, self.wall_s)
        finally:
            self.journal.fails = False
        assert picture(self.life.engine).rows["services"] == before

    @rule(down_s=st.sampled_from((0.5, 30.0, 1e6)))
    def the_owner_dies(self, down_s: float) -> None:
        """The next owner has the same services, and at most a tick later than they were."""
        before = picture(self.life.engine)
        self.journal.close()
        self.journal = Flaky(self.path)
        self.life.clock.advance(down_s)
        self.life.next_owner(self.journal)
        assert picture(self.life.engine) == before
        self.begins_anew()

    @rule(down_s=st.sampled_from((0.0, 30.0, 1e6)))
    def the_machine_goes_down(self, down_s: float) -> None:
        """Nobody is older when it comes back, whatever its clocks say."""
        self.time_passes(2)  # so that all is saved
        self.journal.close()
        self.journal = Flaky(self.path)
        self.life.clock = ManualClock(monotonic=16.0, wall=self.wall_s + down_s)
        self.life.next_system(self.journal)
        self.session += 1
        self.life.join(self.session)
        self.begins_anew()

    def begins_anew(self) -> None:
        """A new owner begins: the clock goes on where it was last noted."""
        self.life.tick()
        lived_s = self.life.actor.lifetime.now_s(self.life.engine._context((0, 0), 0.0))
        if self.services:
            assert self.lived_s - 1.0 <= lived_s <= self.lived_s
        self.lived_s = lived_s
        self.cleanup_s = lived_s + RULES.cleanup_interval_s
        self.ticked()

    # -- what must hold after each of them ---------------------------------------------------------------------

    @invariant()
    def everything_agrees(self) -> None:
        engine = self.life.engine
        assert picture(engine) == rebuilt(engine)
        assert engine.turn.revision == self.revision

    @invariant()
    def services_are_as_expected(self) -> None:
        services = self.life.actor.services
        assert [*services.records] == [*self.services]
        assert {*services.beats} == {*self.services}
        context = self.life.engine._context((0, 0), 0.0)
        for name, service in self.services.items():
            record, view = services.require(name), services.view(name, context)
            for of in (record, view):
                assert {field: getattr(of, field) for field in service.said} == service.said
                assert of.health_status == service.health_status
            assert view.timestamp == service.timestamp
            assert record.is_healthy == service.noted
            assert (view.is_healthy, view.last_heartbeat) == (self.is_healthy(service), service.beat_wall_s)

    @invariant()
    def backends_are_those_that_are_named(self) -> None:
        records = self.life.actor.backends.records.values()
        servers = {key: server for server, key in KEYS.items()}
        made = [record for record in records if record.discovery_source is DiscoverySource.SERVICE]
        found = {
            servers[server_key(record.url)]: ({model.id for model in record.models}, record.status) for record in made
        }
        assert len(found) == len(made)
        assert found == self.made()
        assert {record.id for record in records} - {record.id for record in made} == {*self.by_hand}

    def teardown(self) -> None:
        """When all services are gone, so are the backends that they have made."""
        for name in [*self.services]:
            self.remove(name)
        self.backends_are_those_that_are_named()
        self.life.close()
        self.journal.close()
        self.directory.cleanup()


TestServiceMachine = ServiceMachine.TestCase
TestServiceMachine.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
