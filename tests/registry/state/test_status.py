"""What a check says about a backend."""

from registry import commands as c
from registry.kinds import BackendStatus
from tests.registry.state.driver import State, backend

HEALTHY, UNHEALTHY = BackendStatus.HEALTHY, BackendStatus.UNHEALTHY


def test_update_status_replaces_error() -> None:
    """The latest reason counts, and none given is none."""
    state = State(backend("a"))
    seen = []
    for error in ("one", "two", None):
        state.apply(c.UpdateStatus("a", UNHEALTHY, error))
        seen.append(state.get("a").record.last_error)
    assert seen == ["one", "two", None]


def test_healthy_takes_no_error() -> None:
    """A healthy backend has no error, even if one is told."""
    state = State(backend("a"))
    state.apply(c.UpdateStatus("a", UNHEALTHY, "connection refused"))
    state.apply(c.UpdateStatus("a", HEALTHY, "left over"))
    assert state.get("a").record.last_error is None


def test_only_a_change_of_status_or_error_is_durable() -> None:
    """A check that finds nothing new costs no durable change."""
    state = State(backend("a"))
    durable = []
    for status, error in ((HEALTHY, None), (UNHEALTHY, "x"), (UNHEALTHY, "x"), (UNHEALTHY, "y"), (HEALTHY, None)):
        state.changes.clear()
        state.now_s += 1
        state.apply(c.UpdateStatus("a", status, error))
        durable.append(any(change.table.durable for change in state.changes))
    assert durable == [False, True, False, True, True]


def test_time_of_the_latest_check_wins() -> None:
    """A check that changes something after one that did not shows its own, later time."""
    state = State(backend("a"))
    for status in (HEALTHY, UNHEALTHY, UNHEALTHY, HEALTHY):
        state.now_s += 7
        state.apply(c.UpdateStatus("a", status))
        assert state.get("a").record.last_health_check_s == state.now_s
