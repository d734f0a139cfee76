"""Leases: choosing a backend and counting the request in one step, and giving it back."""

from collections import Counter

import msgspec
import pytest

from registry import commands as c
from registry.errors import LeaseNotFound, ModelNotFound, NoBackendAvailable
from registry.kinds import BackendStatus, Outcome
from registry.state.switchboard import NAMED_MODELS, RETRY_AFTER_S
from tests.registry.state.driver import State, backend


def test_acquire_counts_and_tells_where_to_go() -> None:
    """A lease names the backend, its address, the model and its end, and counts as pending at once."""
    state = State(backend("a", "m"))
    lease = state.acquire(lease_s=60.0)
    assert (lease.backend, lease.url, lease.model) == ("a", "http://a:8000", "m")
    assert lease.deadline_s == state.now_s + 60
    assert state.pending("a") == 1


def test_release_counts_the_request() -> None:
    """A lease that is given back counts as one request and with its latency, and is not pending any more."""
    state = State(backend("a", "m"))
    state.release(state.acquire(), latency_ms=80)
    found = state.get("a")
    assert (found.pending_requests, found.total_requests, found.avg_latency_ms) == (0, 1, 80)


@pytest.mark.parametrize("outcome", [outcome for outcome in Outcome if outcome is not Outcome.OK])
def test_only_a_success_says_how_fast_a_backend_is(outcome: Outcome) -> None:
    """A failed request is counted, but a fast failure does not make a backend look fast."""
    state = State(backend("a", "m"))
    state.release(state.acquire(), outcome=outcome, latency_ms=1)
    found = state.get("a")
    assert (found.total_requests, found.avg_latency_ms) == (1, 0)


def test_acquire_takes_the_backend_with_fewest_pending() -> None:
    """Leases and raw increments both count when the least busy backend is chosen."""
    state = State(backend("a", "m"), backend("b", "m"), backend("c", "m"))
    state.apply(c.IncrementPending("a"), 5)
    state.apply(c.IncrementPending("b"), 6)
    assert state.acquire().backend == "c"
    assert Counter(state.acquire().backend for _ in range(3)) == {"a": 1, "b": 1, "c": 1}


def test_ties_rotate() -> None:
    """Idle backends take turns when requests come one after the other."""
    state = State(backend("a", "m"), backend("b", "m"), backend("c", "m"))
    chosen = []
    for _ in range(9):
        lease = state.acquire()
        chosen.append(lease.backend)
        state.release(lease)
    assert Counter(chosen) == {"a": 3, "b": 3, "c": 3}
    assert chosen[:3] == chosen[3:6] == chosen[6:]


def test_ties_rotate_for_each_model() -> None:
    """Idle backends of one model take turns also when requests for another model come in between."""
    state = State(backend("a", "m"), backend("b", "m"), backend("c", "n"))
    chosen: Counter[str] = Counter()
    for _ in range(10):
        for model in ("m", "n"):
            lease = state.acquire(model)
            chosen[lease.backend] += 1
            state.release(lease)
    assert chosen == {"a": 5, "b": 5, "c": 10}


@pytest.mark.parametrize("status", [status for status in BackendStatus if status is not BackendStatus.HEALTHY])
def test_only_a_healthy_backend_is_given_requests(status: BackendStatus) -> None:
    """A backend in any other status is passed over, and if it is the only one, that is said."""
    state = State(backend("a", "m", status=status), backend("b", "m"))
    assert {state.acquire().backend for _ in range(4)} == {"b"}
    state.apply(c.RemoveBackend("b"))
    with pytest.raises(NoBackendAvailable) as refusal:
        state.acquire()
    assert (refusal.value.model, refusal.value.retry_after_s) == ("m", RETRY_AFTER_S)


def test_excluded_backends_are_passed_over() -> None:
    """A second try goes to another backend, or says that there is none."""
    state = State(backend("a", "m"), backend("b", "m"))
    assert {state.acquire(exclude=("a",)).backend for _ in range(4)} == {"b"}
    with pytest.raises(NoBackendAvailable):
        state.acquire(exclude=("a", "b"))


def test_excluding_an_unknown_backend_excludes_nothing() -> None:
    """A backend that was tried before and removed since does not matter."""
    assert State(backend("a", "m")).acquire(exclude=("gone",)).backend == "a"


def test_unknown_model_names_what_there_is() -> None:
    """The error names the models that healthy backends have, sorted."""
    state = State(backend("a", "z", "b"), backend("u", "hidden", status=BackendStatus.UNHEALTHY))
    with pytest.raises(ModelNotFound, match=r"^Model 'x' not found. Available: b, z$") as refusal:
        state.acquire("x")
    assert (refusal.value.model, refusal.value.available) == ("x", ["b", "z"])


def test_unknown_model_without_any() -> None:
    """The error says when there are no models at all."""
    with pytest.raises(ModelNotFound, match=r"^Model 'x' not found. No models available$"):
        State().acquire("x")


def test_unknown_model_names_only_some_of_many() -> None:
    """The error stays short however many models there are."""
    state = State(backend("a", *(f"m{number:03}" for number in range(100))))
    with pytest.raises(ModelNotFound) as refusal:
        state.acquire("x")
    assert refusal.value.available == [f"m{number:03}" for number in range(NAMED_MODELS)]


def test_refused_acquire_changes_nothing() -> None:
    """Nothing is counted for a request that goes nowhere."""
    state = State(backend("a", "m", status=BackendStatus.UNKNOWN))
    state.changes.clear()
    for model in ("m", "x"):
        with pytest.raises((ModelNotFound, NoBackendAvailable)):
            state.acquire(model)
    assert state.changes == []


def test_double_release_is_refused() -> None:
    """A lease is given back once; a second time gives back nothing of anybody else."""
    state = State(backend("a", "m"))
    lease, other = state.acquire(), state.acquire()
    state.release(lease)
    with pytest.raises(LeaseNotFound) as refusal:
        state.release(lease)
    assert refusal.value.lease == lease.id
    assert state.pending("a") == 1
    assert state.get("a").total_requests == 1
    state.release(other)


def test_foreign_release_is_refused() -> None:
    """A session cannot give back what another holds."""
    state = State(backend("a", "m"))
    lease = state.acquire(session=1)
    with pytest.raises(LeaseNotFound) as refusal:
        state.release(lease, session=2)
    assert refusal.value.lease == lease.id
    assert state.pending("a") == 1
    state.release(lease, session=1)


def test_made_up_lease_is_refused() -> None:
    """A number that was never granted is refused."""
    with pytest.raises(LeaseNotFound):
        State(backend("a", "m")).apply(c.Release(77))


def test_session_end_gives_back_its_leases_only() -> None:
    """The end of a session gives back its leases; they do not count as requests that have ended."""
    state = State(backend("a", "m"))
    for session in (1, 1, 2):
        state.acquire(session=session)
    state.end_session(1)
    assert state.pending("a") == 1
    assert state.get("a").total_requests == 0
    assert [held.session for held in state.apply(c.GetLeases())] == [2]


def test_lease_expires_at_its_deadline() -> None:
    """A lease is taken back at its deadline, not before, and its late release is refused."""
    state = State(backend("a", "m"))
    short, long = state.acquire(lease_s=10.0), state.acquire(lease_s=20.0)
    state.now_s += 9.9
    state.tick()
    assert state.pending("a") == 2
    state.now_s += 0.1
    state.tick()
    assert [held.id for held in state.apply(c.GetLeases())] == [long.id]
    with pytest.raises(LeaseNotFound):
        state.release(short)


def test_tick_without_anything_due_changes_nothing() -> None:
    """Time alone is not a change."""
    state = State(backend("a", "m"))
    state.acquire()
    state.tick()  # the first one notes when it was
    state.changes.clear()
    state.tick()
    assert state.changes == []


def test_removal_leaves_leases_alone() -> None:
    """A lease outlives its backend, can be given back, and counts nothing then."""
    state = State(backend("a", "m"))
    lease = state.acquire()
    assert state.apply(c.RemoveBackend("a")).pending_requests == 1
    assert [held.id for held in state.apply(c.GetLeases())] == [lease.id]
    state.release(lease, latency_ms=5)
    assert not any(len(table) for table in state.actor.tables)


def test_backend_that_comes_back_has_the_leases_that_are_left() -> None:
    """Requests that are still in flight on a backend count when it is added again."""
    state = State(backend("a", "m"))
    lease = state.acquire()
    state.apply(c.RemoveBackend("a"))
    state.apply(c.AddBackend(backend("a", "m")))
    assert state.pending("a") == 1
    state.release(lease)
    assert state.pending("a") == 0


def test_session_end_after_removal() -> None:
    """Leases on a removed backend end with their session like any other."""
    state = State(backend("a", "m"))
    state.acquire(session=3)
    state.apply(c.RemoveBackend("a"))
    state.end_session(3)
    assert not any(len(table) for table in state.actor.tables)


def test_lease_numbers_are_never_used_twice() -> None:
    """A lease of an earlier owner has another number than any of a later one."""
    first = State(backend("a", "m"), epoch=1)
    second = State(backend("a", "m"), epoch=2)
    numbers = [state.acquire().id for state in (first, second) for _ in range(100)]
    assert len(set(numbers)) == 200


def test_get_leases_tells_who_holds_what() -> None:
    """Leases are listed oldest first, with holder, backend, model and times."""
    state = State(backend("a", "m"), backend("b", "n"))
    state.actor.name_of = {4: "gateway-1", 5: "gateway-2"}.__getitem__
    first = state.acquire("m", session=4)
    state.now_s += 1
    second = state.acquire("n", session=5)
    held = state.apply(c.GetLeases())
    assert [(one.id, one.session, one.holder, one.backend, one.model) for one in held] == [
        (first.id, 4, "gateway-1", "a", "m"),
        (second.id, 5, "gateway-2", "b", "n"),
    ]
    assert [one.age_s for one in held] == [1, 0]
    assert [one.remaining_s for one in held] == [c.LEASE_S - 1, c.LEASE_S]


def test_dead_senders_take_nothing() -> None:
    """Of what a dead process had sent, only what takes something is not done."""
    actor = State().actor
    unwanted = {
        type(command)
        for command in (
            c.Acquire("m"),
            c.IncrementPending("a"),
            c.DecrementPending("a"),
            c.Release(1),
            c.AddBackend(backend("a")),
            c.RemoveBackend("a"),
            c.UpdateStatus("a", BackendStatus.HEALTHY),
            c.IncrementTotalRequests("a"),
        )
        if not actor.wanted_after_death(command)
    }
    assert unwanted == {c.Acquire, c.IncrementPending}


def test_every_command_has_a_handler() -> None:
    """There is no command that the owner would understand and not know what to do with."""
    commands = set(c.AnyCommand.__args__)
    assert commands == set(State().actor._handlers)
    assert commands == set(c.Command.__subclasses__())


@pytest.mark.parametrize(
    ("fields", "at"),
    [
        ({"type": "Acquire", "model": ""}, "model"),
        ({"type": "Acquire", "model": "m" * 1_025}, "model"),
        ({"type": "Acquire", "model": 7}, "model"),
        ({"type": "Acquire", "model": "m", "lease_s": 0.0}, "lease_s"),
        ({"type": "Acquire", "model": "m", "lease_s": 1e9}, "lease_s"),
        ({"type": "Acquire", "model": "m", "exclude": ["x"] * 101}, "exclude"),
        ({"type": "Release", "lease": 0}, "lease"),
        ({"type": "Release", "lease": 1, "outcome": "fine"}, "outcome"),
        ({"type": "Release", "lease": 1, "latency_ms": -1}, "latency_ms"),
        ({"type": "UpdateLatency", "id": "a", "latency_ms": 2**31}, "latency_ms"),
        ({"type": "UpdateStatus", "id": "a", "status": "HEALTHY"}, "status"),
        ({"type": "GetBackend", "id": ""}, "id"),
        ({"type": "CountHttpError", "code": 200}, "code"),
    ],
)
def test_limits_of_commands(fields: dict[str, object], at: str) -> None:
    """What is out of its limits is not understood as a command, and the offending field is named."""
    with pytest.raises(msgspec.ValidationError, match=rf"\$\.{at}"):
        msgspec.msgpack.decode(msgspec.msgpack.encode(fields), type=c.AnyCommand)
