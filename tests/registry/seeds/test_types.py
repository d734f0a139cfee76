"""T02 and T03: kinds, models, backends and views, as they are in JSON and as a running registry shows them."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from enum import StrEnum

import pytest

from registry import Backend, BackendStatus, BackendType, BackendView, DiscoverySource, Model, Registry
from tests.registry.seeds.systems import view_of
from tests.registry.systems import WHOLE_BACKEND, WHOLE_MODEL


def words(kind: type[StrEnum]) -> set[str]:
    """The words of a kind in JSON, each of which is read again as what it was."""
    found = set()
    for member in kind:
        word = json.loads(json.dumps(member))
        assert kind(word) is member
        found.add(word)
    return found


def test_backend_type_serialization() -> None:
    """Types of backends are lower-case words in JSON."""
    locals_ = {"ollama", "vllm", "llamacpp", "exo", "lmstudio", "sglang"}
    assert words(BackendType) == locals_ | {"openai", "anthropic", "google", "generic"}
    assert json.dumps(BackendType.OLLAMA) == '"ollama"'


def test_backend_status_serialization() -> None:
    """Statuses are lower-case words in JSON; those of the seeds, and three more."""
    seeds = {"healthy", "unhealthy", "unknown", "draining"}
    assert words(BackendStatus) == seeds | {"warming", "rate_limited", "misconfigured"}
    assert json.dumps(BackendStatus.HEALTHY) == '"healthy"'


def test_discovery_source_serialization() -> None:
    """Sources are lower-case words in JSON; those of the seeds, and services."""
    assert words(DiscoverySource) == {"static", "mdns", "manual"} | {"service"}
    assert json.dumps(DiscoverySource.MDNS) == '"mdns"'


def test_model_creation() -> None:
    """A model holds all that is given."""
    assert WHOLE_MODEL.model_dump() == {
        "id": "llama3:70b",
        "name": "Llama 3",
        "context_length": 8192,
        "supports_vision": True,
        "supports_tools": True,
        "supports_json_mode": True,
        "max_output_tokens": 512,
    }


def test_model_json_roundtrip(registry: Registry) -> None:
    """A model read from its JSON is equal to it, and so is one that was in the registry."""
    assert Model.model_validate_json(WHOLE_MODEL.model_dump_json()) == WHOLE_MODEL
    registry.add_backend(WHOLE_BACKEND)
    assert view_of(registry, "gpu-1").models[0] == WHOLE_MODEL


def test_backend_creation() -> None:
    """A backend holds all that is given."""
    assert (WHOLE_BACKEND.id, WHOLE_BACKEND.name, WHOLE_BACKEND.url) == ("gpu-1", "GPU 1", "http://gpu-1:8000")
    assert (WHOLE_BACKEND.backend_type, WHOLE_BACKEND.status) == (BackendType.VLLM, BackendStatus.UNHEALTHY)
    assert (WHOLE_BACKEND.priority, WHOLE_BACKEND.discovery_source) == (-5, DiscoverySource.MDNS)
    assert [model.id for model in WHOLE_BACKEND.models] == ["llama3:70b", "m"]
    assert WHOLE_BACKEND.metadata == {"rack": "7"}


def test_backend_view_from_backend(registry: Registry) -> None:
    """The view of a backend that was added shows all its fields."""
    registry.add_backend(WHOLE_BACKEND)
    view = view_of(registry, "gpu-1")
    for field in Backend.model_fields:
        assert getattr(view, field) == getattr(WHOLE_BACKEND, field), field


def test_backend_view_json_roundtrip(registry: Registry) -> None:
    """A view read from its JSON is equal to it, counts, time and error included."""
    registry.add_backend(WHOLE_BACKEND)
    registry.update_status("gpu-1", BackendStatus.UNHEALTHY, "connection refused")
    registry.increment_pending("gpu-1")
    registry.increment_total_requests("gpu-1")
    registry.update_latency("gpu-1", 70)
    view = view_of(registry, "gpu-1")
    shown = json.loads(view.model_dump_json())
    assert (shown["backend_type"], shown["status"], shown["discovery_source"]) == ("vllm", "unhealthy", "mdns")
    assert (shown["pending_requests"], shown["total_requests"], shown["avg_latency_ms"]) == (1, 1, 70)
    assert shown["last_error"] == "connection refused"
    assert BackendView.model_validate_json(view.model_dump_json()) == view


@pytest.mark.parametrize("id", ["", "named"])
def test_backend_default_values(registry: Registry, id: str) -> None:
    """A backend needs only a URL: it begins without requests, samples and errors, and nobody has asked it yet."""
    backend = Backend(url="HTTP://GPU-1:8000/", id=id)
    asked = datetime.now(UTC)
    registry.add_backend(backend)
    view = view_of(registry, backend.id)
    assert (view.url, view.id, view.name) == ("http://gpu-1:8000", id or "gpu-1:8000", id or "gpu-1:8000")
    assert (view.pending_requests, view.total_requests, view.avg_latency_ms) == (0, 0, 0)
    assert (view.backend_type, view.status, view.last_error) == (BackendType.GENERIC, BackendStatus.UNKNOWN, None)
    assert (view.models, view.priority, view.metadata) == ((), 0, {})
    assert view.discovery_source is DiscoverySource.MANUAL
    assert asked <= view.last_health_check <= datetime.now(UTC)
