"""Changing what is configured of a backend: as a whole, in part, and only if it is as the caller saw it."""

from typing import Any

import msgspec
import pytest

from registry import commands as c
from registry.errors import BackendNotFound, DuplicateBackend, InvalidField, RevisionMismatch
from registry.kinds import BackendRole, BackendStatus, BackendType, Connection
from registry.state.records import BackendState, ModelRecord
from tests.registry.state.driver import State, backend

HEALTHY, DRAINING, UNKNOWN = BackendStatus.HEALTHY, BackendStatus.DRAINING, BackendStatus.UNKNOWN

CONFIGURED = {
    "labels": {"zone": "eu"},
    "weight": 3,
    "max_concurrency": 8,
    "role": BackendRole.DECODE,
    "connection": Connection.GRPC,
}


def revisions(state: State) -> dict[str, int]:
    """The revision of each backend."""
    return {id: state.get(id).record.revision for id in state.ids()}


# -- revisions -----------------------------------------------------------------------------------------------


def test_a_backend_has_the_revision_of_its_latest_change() -> None:
    """Each durable change of a backend gives it the next revision, and the others none."""
    state = State(backend("a"), backend("b"))
    assert revisions(state) == {"a": 1, "b": 2}
    state.apply(c.UpdateModels("a", (ModelRecord("m"),)))
    assert revisions(state) == {"a": 3, "b": 2}
    state.apply(c.UpdateStatus("b", UNKNOWN))
    assert revisions(state) == {"a": 3, "b": 4}


def test_a_revision_cannot_be_brought_along() -> None:
    """Whatever the caller writes into the record, the revision is that of the change."""
    assert revisions(State(backend("a", revision=77))) == {"a": 1}


@pytest.mark.parametrize(
    "command",
    [
        c.UpdateStatus("a", HEALTHY),
        c.UpdateModels("a", (ModelRecord("m"),)),
        c.UpdateBackend("a", name="a", weight=1, labels={}, metadata={}, max_concurrency=None, priority=0),
        c.UpdateBackend("a"),
        c.PutBackend(backend("a", "m", status=DRAINING)),
        c.UndrainBackend("a"),
        c.IncrementPending("a"),
        c.Acquire("m"),
    ],
)
def test_what_changes_nothing_has_no_revision(command: c.Command) -> None:
    """What leaves a backend as it is, or only counts, is no durable change."""
    state = State(backend("a", "m"))
    state.apply(command)
    assert revisions(state) == {"a": 1}
    assert state.revision == 1


@pytest.mark.parametrize(
    "command",
    [
        c.UpdateBackend("a", weight=2, expected_revision=1),
        c.PutBackend(backend("a", weight=2), expected_revision=1),
        c.RemoveBackend("a", expected_revision=1),
    ],
)
def test_a_change_based_on_an_old_state_is_refused(command: c.Command) -> None:
    """Whoever says which revision was seen changes nothing if there is another one."""
    state = State(backend("a"))
    state.apply(c.UpdateStatus("a", UNKNOWN))
    before = state.get("a")
    with pytest.raises(RevisionMismatch) as refusal:
        state.apply(command)
    assert (refusal.value.id, refusal.value.expected, refusal.value.found) == ("a", 1, 2)
    assert state.get("a") == before
    state.apply(msgspec.structs.replace(command, expected_revision=2))
    assert state.revision == 3


# -- update --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("name", "Other"),
        ("labels", {"zone": "us"}),
        ("priority", -4),
        ("weight", 1_000_000),
        ("max_concurrency", 1),
        ("max_concurrency", None),
        ("metadata", {"rack": "8"}),
    ],
)
def test_update_changes_only_what_is_given(field: str, value: Any) -> None:
    """One field has another value; everything else of the record is as it was."""
    state = State(backend("a", "m", **CONFIGURED))
    before = state.get("a").record
    updated: BackendState = state.apply(c.UpdateBackend("a", **{field: value}))
    assert updated == state.get("a")
    assert updated.record == msgspec.structs.replace(before, revision=2, **{field: value})


def test_update_of_an_unknown_backend() -> None:
    """It is not found, whatever revision was expected."""
    for expected in (None, 1):
        with pytest.raises(BackendNotFound):
            State().apply(c.UpdateBackend("a", weight=2, expected_revision=expected))
        with pytest.raises(BackendNotFound):
            State().apply(c.RemoveBackend("a", expected_revision=expected))


@pytest.mark.parametrize(
    ("fields", "at"),
    [
        ({"name": ""}, "name"),
        ({"name": None}, "name"),
        ({"weight": 0}, "weight"),
        ({"weight": 1_000_001}, "weight"),
        ({"max_concurrency": 0}, "max_concurrency"),
        ({"max_concurrency": 1_000_001}, "max_concurrency"),
        ({"priority": 2**31}, "priority"),
        ({"labels": {"": "x"}}, "labels"),
        ({"labels": {"x": "y" * 4_097}}, "labels"),
        ({"labels": {str(number): "" for number in range(101)}}, "labels"),
        ({"metadata": {"x": 7}}, "metadata"),
        ({"expected_revision": -1}, "expected_revision"),
        ({"url": "http://x"}, ""),
    ],
)
def test_limits_of_an_update(fields: dict[str, Any], at: str) -> None:
    """What is out of its limits is not understood as a command, and the offending field is named."""
    packed = msgspec.msgpack.encode({"type": "UpdateBackend", "id": "a", **fields})
    with pytest.raises(msgspec.ValidationError, match=rf"\$\.{at}" if at else "unknown field"):
        msgspec.msgpack.decode(packed, type=c.AnyCommand)


# -- put -----------------------------------------------------------------------------------------------------


def test_put_adds_a_backend() -> None:
    """One that is not there is added as by `AddBackend`."""
    state = State()
    put = state.apply(c.PutBackend(backend("a", "m", url="HTTP://A:80/", **CONFIGURED), only_new=True))
    added = State(backend("a", "m", url="http://a", **CONFIGURED)).get("a")
    assert put == state.get("a") == added


def test_put_replaces_the_configuration_and_keeps_the_rest() -> None:
    """Status, error, time of the check, counts and leases of a backend outlive its configuration."""
    state = State(backend("a", "m", **CONFIGURED))
    state.acquire()
    state.apply(c.IncrementTotalRequests("a"))
    state.apply(c.UpdateStatus("a", BackendStatus.UNHEALTHY, "down"))
    before = state.get("a")
    state.now_s += 5
    put = state.apply(c.PutBackend(backend("a", "n", url="http://elsewhere", status=UNKNOWN)))
    assert put == state.get("a")
    assert put.record == backend(
        "a",
        "n",
        url="http://elsewhere",
        status=BackendStatus.UNHEALTHY,
        last_error="down",
        last_health_check_s=before.record.last_health_check_s,
        revision=3,
    )
    assert (put.pending_requests, put.total_requests) == (1, 1)
    assert (state.ids("m"), state.ids("n")) == ([], ["a"])


def test_put_with_a_status() -> None:
    """A status that is given is taken, as from `UpdateStatus`."""
    state = State(backend("a", status=BackendStatus.UNHEALTHY))
    state.apply(c.UpdateStatus("a", BackendStatus.UNHEALTHY, "down"))
    state.now_s += 5
    record = state.apply(c.PutBackend(backend("a", status=HEALTHY), keep_status=False)).record
    assert (record.status, record.last_error, record.last_health_check_s) == (HEALTHY, None, state.now_s)


def test_put_can_be_refused() -> None:
    """One that must be new, must be there, or has a bad URL, changes nothing."""
    state = State(backend("a"))
    with pytest.raises(DuplicateBackend):
        state.apply(c.PutBackend(backend("a", "m"), only_new=True))
    with pytest.raises(RevisionMismatch) as refusal:
        state.apply(c.PutBackend(backend("b"), expected_revision=1))
    assert refusal.value.found is None
    with pytest.raises(InvalidField):
        state.apply(c.PutBackend(backend("a", url="ftp://a")))
    assert (state.ids(), state.revision) == (["a"], 1)


# -- draining ------------------------------------------------------------------------------------------------


def test_drain_and_undrain() -> None:
    """A backend that drains keeps what it has and gets nothing new; afterwards the next check decides."""
    state = State(backend("a", "m"), backend("b", "m"))
    lease = state.acquire(exclude=("b",))
    drained: BackendState = state.apply(c.DrainBackend("a"))
    assert drained == state.get("a")
    assert (drained.record.status, drained.pending_requests, drained.record.revision) == (DRAINING, 1, 3)
    assert {state.acquire().backend for _ in range(3)} == {"b"}
    state.release(lease)
    undrained: BackendState = state.apply(c.UndrainBackend("a"))
    assert (undrained.record.status, undrained.record.revision) == (UNKNOWN, 4)


def test_drain_is_a_change_of_status() -> None:
    """To drain and to set the status are the same."""
    states = [State(backend("a", status=UNKNOWN)) for _ in range(2)]
    states[0].apply(c.DrainBackend("a"))
    states[1].apply(c.UpdateStatus("a", DRAINING))
    assert states[0].get("a") == states[1].get("a")


def test_drain_twice_and_undrain_twice_are_once() -> None:
    """The second time changes nothing."""
    state = State(backend("a"))
    for command in (c.DrainBackend("a"), c.UndrainBackend("a")):
        assert state.apply(command) == state.apply(command)
    assert state.revision == 3


@pytest.mark.parametrize("command", [c.DrainBackend("a"), c.UndrainBackend("a")])
def test_draining_an_unknown_backend(command: c.Command) -> None:
    """It is not found."""
    with pytest.raises(BackendNotFound):
        State().apply(command)


# -- listing -------------------------------------------------------------------------------------------------


def test_list_backends_by_everything_at_once() -> None:
    """A list has the backends that are all of what is asked for, in order, and the revision it was made at."""
    state = State(
        backend("a", "m", backend_type=BackendType.VLLM, labels={"zone": "eu", "tier": "1"}),
        backend("b", "m", backend_type=BackendType.OLLAMA, labels={"zone": "eu"}),
        backend("c", "n", backend_type=BackendType.VLLM, status=UNKNOWN),
    )

    def listed(**fields: Any) -> list[str]:
        listing = state.apply(c.ListBackends(**fields))
        assert listing.revision == 3
        return [found.record.id for found in listing.backends]

    assert listed() == ["a", "b", "c"]
    assert listed(model="m") == ["a", "b"]
    assert listed(model="nobody's") == []
    assert listed(status=UNKNOWN) == ["c"]
    assert listed(backend_type=BackendType.VLLM) == ["a", "c"]
    assert listed(labels={"zone": "eu"}) == ["a", "b"]
    assert listed(labels={"zone": "eu", "tier": "1"}) == ["a"]
    assert listed(labels={"zone": "us"}) == []
    assert listed(model="m", status=HEALTHY, backend_type=BackendType.OLLAMA, labels={"zone": "eu"}) == ["b"]
