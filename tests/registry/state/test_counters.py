"""Raw counts of requests in flight, totals and latency averages."""

import logging

import pytest

from registry import commands as c
from registry.errors import BackendNotFound
from tests.registry.state.driver import State, backend


def test_increments_of_all_sessions_are_counted_together() -> None:
    """Each increment gives the next number, whichever session counts."""
    state = State(backend("a"))
    assert [state.apply(c.IncrementPending("a"), session) for session in (1, 2, 1)] == [1, 2, 3]


def test_decrement_of_nothing_is_a_warning_and_no_change(caplog: pytest.LogCaptureFixture) -> None:
    """A decrement of nothing is warned of, with the backend's id, and changes nothing."""
    state = State(backend("gpu-7"))
    state.changes.clear()
    with caplog.at_level(logging.DEBUG):
        state.apply(c.DecrementPending("gpu-7"))
    ((_, level, text),) = caplog.record_tuples
    assert level == logging.WARNING
    assert "gpu-7" in text
    assert state.changes == []


def test_decrement_takes_the_sessions_own_first() -> None:
    """A decrement takes back what its own session counted, even if another counted more."""
    state = State(backend("a"))
    for session in (1, 2, 2, 2):
        state.apply(c.IncrementPending("a"), session)
    assert state.apply(c.DecrementPending("a"), 1) == 3
    state.end_session(2)
    assert state.pending("a") == 0


def test_decrement_without_own_takes_from_the_session_with_most() -> None:
    """A session that counted nothing takes from the one that counted most."""
    state = State(backend("a"))
    for session in (1, 2, 2, 2, 3, 3):
        state.apply(c.IncrementPending("a"), session)
    assert state.apply(c.DecrementPending("a"), 9) == 5
    state.end_session(2)
    assert state.pending("a") == 3


def test_decrement_never_takes_a_lease(caplog: pytest.LogCaptureFixture) -> None:
    """The number does not fall below the live leases, of the same session or another."""
    state = State(backend("a", "m"))
    lease = state.acquire(session=1)
    state.apply(c.IncrementPending("a"), 1)
    assert [state.apply(c.DecrementPending("a"), session) for session in (1, 1, 2)] == [1, 1, 1]
    assert "a" in caplog.text
    state.release(lease)
    assert state.pending("a") == 0


def test_session_end_gives_back_its_increments_only() -> None:
    """The end of a session takes back what it counted, on all backends, and nothing else."""
    state = State(backend("a"), backend("b"))
    for id, session in (("a", 1), ("a", 1), ("a", 2), ("b", 1)):
        state.apply(c.IncrementPending(id), session)
    state.end_session(1)
    assert (state.pending("a"), state.pending("b")) == (1, 0)
    state.end_session(1)
    assert state.pending("a") == 1


def test_increment_total_requests() -> None:
    """Totals rise by one."""
    state = State(backend("a"))
    assert [state.apply(c.IncrementTotalRequests("a")) for _ in range(2)] == [1, 2]
    assert state.get("a").total_requests == 2


@pytest.mark.parametrize(
    "command",
    [
        c.IncrementPending("x"),
        c.DecrementPending("x"),
        c.IncrementTotalRequests("x"),
        c.UpdateLatency("x", 1),
    ],
)
def test_counting_an_unknown_backend_is_refused(command: c.Command) -> None:
    """No count begins for a backend that is not there."""
    state = State()
    with pytest.raises(BackendNotFound) as refusal:
        state.apply(command)
    assert refusal.value.id == "x"
    assert state.changes == []


def test_counts_are_not_durable() -> None:
    """Counting costs no durable change."""
    state = State(backend("a", "m"))
    state.changes.clear()
    for command in (c.IncrementPending("a"), c.DecrementPending("a"), c.IncrementTotalRequests("a")):
        state.apply(command)
    state.apply(c.UpdateLatency("a", 5))
    state.release(state.acquire(), latency_ms=3)
    assert state.changes
    assert not any(change.table.durable for change in state.changes)
