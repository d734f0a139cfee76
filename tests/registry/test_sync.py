"""Copies that are brought up to date, with real processes on both faces."""

from __future__ import annotations

import os
import random
import signal
import threading

import pytest

from actors.channel import DEFAULT_LIMIT
from registry import Backend, BackendStatus, CallTimeout, CommandInvalid, Model, Registry, Supervisor
from registry.errors import InvalidField
from tests.polling import until
from tests.registry.faces import FACES, Make
from tests.registry.systems import emptied

ROUNDS = 1_000


@pytest.fixture
def supervisor(running_supervisor: Supervisor) -> Supervisor:
    """The system with one backend and no service."""
    registry = emptied(running_supervisor.registry)
    registry.add_backend(Backend(url="http://b1:8000", id="b1", models=[Model(id="m")], status=BackendStatus.HEALTHY))
    return running_supervisor


def register(registry: Registry, name: str, status: str = "running") -> None:
    """Add a service."""
    registry.register_service(
        name, host="127.0.0.1", port=9000, hostname=name, url=f"http://{name}:9000", status=status
    )


def asked(registry: Registry) -> int:
    """How much it has asked."""
    return registry.statistics().asked


def owner_pid(supervisor: Supervisor) -> int:
    """The process id of the owner at this moment."""
    pid = supervisor.processes()[0].pid
    assert pid is not None
    return pid


def test_what_one_was_answered_the_other_sees(make: Make, supervisor: Supervisor) -> None:
    """Always: what lasts, counts, heartbeats; whichever of the two it was."""
    registries = [supervisor.registry, make()]
    for registry in registries:
        register(registry, "s")
    pending = 0
    for number in range(ROUNDS):
        writer, reader = registries[number % 2], registries[1 - number % 2]
        match number % 4:
            case 0:
                writer.update_backend("b1", priority=number)
            case 1:
                pending = writer.increment_pending("b1")
            case 2:
                beat = writer.copy.services.beats.get("s")
                writer.heartbeat("s")
            case _:
                writer.update_service("s", status=f"word {number}")
        reader.sync()
        [view] = reader.get_all_backends()
        assert view.priority == number // 4 * 4
        assert view.pending_requests == pending
        latest = reader.copy.services.beats["s"]
        if number % 4 == 2:
            assert beat is None or latest.fresh_until_s > beat.fresh_until_s
        if number % 4 == 3:
            assert reader.copy.services.records["s"].status == f"word {number}"


@pytest.mark.parametrize("kind", FACES)
def test_fresh_reads_see_what_another_was_answered(kind: str, supervisor: Supervisor) -> None:
    """A read by any operation, whether the session has a copy or not."""
    make = FACES[kind]
    registries = [make(supervisor._handle.attach()) for _ in range(2)]
    chance = random.Random(3)
    try:
        for number in range(200):
            writer, reader = chance.sample(registries, 2)
            writer.update_backend("b1", priority=number)
            view = reader.get_backend("b1", fresh=True)
            assert view is not None
            assert view.priority == number
            if number > 20:
                assert [one.priority for one in reader.get_backends_for_model("m", fresh=True)] == [number]
                listed = reader.list_backends(model="m")
                assert (listed.revision, listed.backends[0].priority) == (reader.revision, number)
    finally:
        for registry in registries:
            registry.close()


def test_only_lists_make_a_copy(make: Make, supervisor: Supervisor) -> None:
    """A fresh read of one backend asks the owner as long as there is no copy; a list brings one, a question a read."""
    registry = make()
    assert registry.get_backend("b1", fresh=True) == supervisor.registry.get_backend("b1", fresh=True)
    assert registry.backend_count(fresh=True) == 1
    assert registry.replica.age_s is None
    assert [view.id for view in registry.get_all_backends(fresh=True)] == ["b1"]
    assert registry.replica.complete
    for read in (registry.get_all_backends, registry.get_models, registry.backend_count):
        before = asked(registry)
        read(fresh=True)
        assert asked(registry) == before + 1


def test_a_list_is_filtered_as_by_the_owner(make: Make, supervisor: Supervisor) -> None:
    """By everything that can be given; what makes no sense is refused by the owner."""
    registry, wrong = make(), supervisor.registry
    registry.add_backend(
        Backend(
            url="http://b2:8000", id="b2", models=[Model(id="m"), Model(id="n")], labels={"zone": "eu", "rack": "7"}
        )
    )

    def ids(**filters: object) -> list[str]:
        listed = registry.list_backends(**filters)  # type: ignore[arg-type]  # any of the filters
        [asked] = registry.batch([Registry.list_backends.call(**filters)])  # type: ignore[arg-type]  # any of the filters
        assert asked == listed
        return [view.id for view in listed.backends]

    assert ids() == ids(model="m") == ids(label={}) == ["b1", "b2"]
    assert ids(model="n") == ids(label={"zone": "eu"}) == ids(label={"rack": "7", "zone": "eu"}) == ["b2"]
    assert ids(status=BackendStatus.HEALTHY) == ids(status="healthy") == ["b1"]
    assert ids(model="absent") == ids(label={"zone": "us"}) == []
    before = asked(registry)
    assert len(registry.list_backends(fresh=False).backends) == 2
    assert asked(registry) == before
    for filters in ({"model": ""}, {"status": "well"}, {"label": {"zone": 1}}):
        with pytest.raises(CommandInvalid):
            wrong.list_backends(**filters)


def test_a_list_may_be_longer_than_a_message(make: Make, supervisor: Supervisor) -> None:
    """It is read from the copy, which comes in pieces."""
    metadata = {str(number): "x" * 4_000 for number in range(100)}
    add = Registry.add_backend.call
    for at in range(0, 45, 5):
        supervisor.registry.batch(
            [add(Backend(url=f"http://long{one}:1", id=f"long{one}", metadata=metadata)) for one in range(at, at + 5)]
        )
    try:
        listed = make().list_backends(label={})
        assert [view.id for view in listed.backends] == ["b1", *[f"long{one}" for one in range(45)]]
        assert sum(len(view.metadata["0"]) * len(view.metadata) for view in listed.backends[1:]) > DEFAULT_LIMIT
        assert len(make().get_all_backends(fresh=True)) == 46
    finally:
        emptied(supervisor.registry)


def test_services_are_listed_as_they_are_now(make: Make, supervisor: Supervisor) -> None:
    """In order, by status and health, by what any process has said; with the heartbeats that the owner knows."""
    registry, other = make(), supervisor.registry
    assert registry.list_services() == []
    for name in ("one", "two", "three"):
        register(other, name)
    other.update_service("two", status="starting")
    register(other, "one")
    views = registry.list_services()
    assert [view.name for view in views] == ["one", "two", "three"]
    assert [view.is_healthy for view in views] == [True, False, True]
    assert views == [other.get_service(view.name) for view in views]
    assert [view.name for view in registry.list_services(status="starting")] == ["two"]
    assert [view.name for view in registry.list_services(healthy=True)] == ["one", "three"]
    assert registry.list_services(status="running", healthy=False) == []
    other.heartbeat("two", "running")
    assert [view.name for view in registry.list_services(healthy=True)] == ["one", "two", "three"]
    other.remove_service("one")
    assert [view.name for view in registry.list_services()] == ["two", "three"]
    wrong: dict[str, object] = {"status": 7}
    for filters in (wrong, {"healthy": "yes"}):
        with pytest.raises(InvalidField):
            registry.list_services(**filters)


def test_heartbeats_are_sent_to_who_asks(make: Make, supervisor: Supervisor) -> None:
    """Those of others and one's own wake nobody, and come with the next question."""
    registry, other = make(), supervisor.registry
    register(other, "s")
    registry.sync()
    before = registry.replica.updates
    for _ in range(50):
        registry.heartbeat("s")
        other.heartbeat("s")
    assert registry.replica.updates == before
    [view] = registry.list_services()
    assert view == other.get_service("s")
    assert registry.replica.updates == before + 1


def test_an_owner_that_dies_while_a_question_waits(make: Make, supervisor: Supervisor) -> None:
    """The next one is asked again, and answers once the copy is whole."""
    registry = make()
    registry.sync()
    session = getattr(registry, "_registry", registry)._client.session  # the thread has the loop
    pid = owner_pid(supervisor)
    os.kill(pid, signal.SIGSTOP)
    errors: list[BaseException] = []

    def ask() -> None:
        try:
            registry.sync()
        except BaseException as error:  # noqa: BLE001 - what was raised is told below
            errors.append(error)

    before = registry.statistics()
    thread = threading.Thread(target=ask)
    thread.start()
    until(lambda: session.unanswered == 1, "the question is under way")
    os.kill(pid, signal.SIGKILL)
    thread.join(30)
    assert errors == []
    after = registry.statistics()
    assert (after.epoch, after.resent) == (before.epoch + 1, before.resent + 1)
    assert registry.replica.complete
    supervisor.registry.update_backend("b1", priority=7)
    registry.sync()
    assert [view.priority for view in registry.get_all_backends()] == [7]


def test_a_question_that_is_not_answered_in_time(make: Make, supervisor: Supervisor) -> None:
    """A typed error; nothing was changed, and what comes later is right."""
    registry = make()
    registry.sync()
    pid = owner_pid(supervisor)
    os.kill(pid, signal.SIGSTOP)
    try:
        with pytest.raises(CallTimeout, match="nothing was changed"):
            registry.sync(timeout=0.05)
    finally:
        os.kill(pid, signal.SIGCONT)
    supervisor.registry.update_backend("b1", priority=7)
    registry.sync()
    assert [view.priority for view in registry.get_all_backends()] == [7]
    until(lambda: registry.backend_count(fresh=True) and registry.statistics().unanswered == 0, "all is answered")
