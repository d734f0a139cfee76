"""T08: requests in flight and latency averages."""

from __future__ import annotations

import pytest

from registry import Registry, Supervisor
from tests.registry.seeds.systems import backend, view_of


@pytest.fixture
def a(registry: Registry) -> str:
    """A backend that nobody has used."""
    registry.add_backend(backend("a"))
    return "a"


def test_increment_pending_success(registry: Registry, a: str) -> None:
    """The new number is given and stored."""
    assert registry.increment_pending(a) == 1
    assert view_of(registry, a).pending_requests == 1


def test_increment_pending_returns_new_value(registry: Registry, a: str) -> None:
    """Each increment gives the next number."""
    assert [registry.increment_pending(a) for _ in range(3)] == [1, 2, 3]


def test_decrement_pending_success(registry: Registry, a: str) -> None:
    """Two increments and a decrement leave one."""
    registry.increment_pending(a)
    registry.increment_pending(a)
    assert registry.decrement_pending(a) == 1
    assert view_of(registry, a).pending_requests == 1


def test_decrement_pending_clamps_to_zero(registry: Registry, a: str) -> None:
    """The number never falls below zero."""
    assert registry.decrement_pending(a) == 0
    assert view_of(registry, a).pending_requests == 0
    assert registry.increment_pending(a) == 1


def test_decrement_pending_at_zero_logs_warning(capfd: pytest.CaptureFixture[str]) -> None:
    """The owner process writes one line to standard error, which names the backend; it would not for less."""
    with Supervisor() as supervisor:
        supervisor.registry.add_backend(backend("gpu-7"))
        supervisor.registry.increment_pending("gpu-7")
        assert supervisor.registry.decrement_pending("gpu-7") == 0
        assert supervisor.registry.decrement_pending("gpu-7") == 0
    said = "WARNING registry.state.pending: decrement_pending of gpu-7, which has no increment left\n"
    assert capfd.readouterr().err == said


def test_update_latency_first_sample(registry: Registry, a: str) -> None:
    """The first sample is the average."""
    assert registry.update_latency(a, 100) == 100
    assert view_of(registry, a).avg_latency_ms == 100


def test_update_latency_ema_calculation(registry: Registry, a: str) -> None:
    """Each sample counts a fifth, in whole milliseconds."""
    assert [registry.update_latency(a, sample) for sample in (100, 200, 150)] == [100, 120, 126]
    assert view_of(registry, a).avg_latency_ms == 126


def test_update_latency_zero_valid(registry: Registry, a: str) -> None:
    """A sample of zero is taken."""
    assert [registry.update_latency(a, sample) for sample in (0, 0, 1, 0)] == [0, 0, 1, 0]
    assert view_of(registry, a).avg_latency_ms == 0
