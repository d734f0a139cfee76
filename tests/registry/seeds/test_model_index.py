"""T06: which backends have a model, and which are healthy."""

from __future__ import annotations

from registry import BackendStatus, Registry
from tests.registry.seeds.systems import backend


def having(registry: Registry, model: str) -> list[str]:
    """Ids of the backends that have a model."""
    return [view.id for view in registry.get_backends_for_model(model)]


def healthy(registry: Registry) -> list[str]:
    """Ids of the healthy backends."""
    return [view.id for view in registry.get_healthy_backends()]


def test_model_index_updated_on_add(registry: Registry) -> None:
    """Each model of a new backend leads to it."""
    registry.add_backend(backend("a", "m", "n"))
    assert (having(registry, "m"), having(registry, "n")) == (["a"], ["a"])


def test_model_index_updated_on_remove(registry: Registry) -> None:
    """A model of a removed backend leads nowhere, and is not counted; those of others stay."""
    registry.add_backend(backend("a", "m", "n"))
    registry.add_backend(backend("b", "n"))
    registry.remove_backend("a")
    assert (having(registry, "m"), having(registry, "n")) == ([], ["b"])
    assert registry.model_count() == 1


def test_get_backends_for_model_single(registry: Registry) -> None:
    """Only the backend that has the model is given."""
    registry.add_backend(backend("a", "m"))
    registry.add_backend(backend("b", "n"))
    assert having(registry, "m") == ["a"]


def test_get_backends_for_model_multiple(registry: Registry) -> None:
    """All backends that share a model are given, in order of their arrival."""
    for id in ("c", "a", "b"):
        registry.add_backend(backend(id, "m"))
    assert having(registry, "m") == ["c", "a", "b"]


def test_get_backends_for_model_none(registry: Registry) -> None:
    """A model nobody has is no error of a read."""
    registry.add_backend(backend("a", "m"))
    assert having(registry, "unknown") == []


def test_get_healthy_backends_includes_healthy(registry: Registry) -> None:
    """A healthy backend is among the healthy ones."""
    registry.add_backend(backend("a"))
    assert healthy(registry) == ["a"]


def test_get_healthy_backends_excludes_unhealthy(registry: Registry) -> None:
    """An unhealthy backend is not among them, and neither is one that was not asked yet."""
    for id, status in (("a", BackendStatus.UNHEALTHY), ("b", BackendStatus.UNKNOWN), ("c", BackendStatus.HEALTHY)):
        registry.add_backend(backend(id, status=status))
    assert healthy(registry) == ["c"]


def test_get_healthy_backends_excludes_draining(registry: Registry) -> None:
    """A draining backend is not among them."""
    registry.add_backend(backend("a", status=BackendStatus.DRAINING))
    registry.add_backend(backend("b"))
    assert healthy(registry) == ["b"]


def test_model_count(registry: Registry) -> None:
    """Distinct models are counted, of unhealthy backends too."""
    registry.add_backend(backend("a", "llama3", "mistral"))
    registry.add_backend(backend("b", "llama3", "qwen", status=BackendStatus.UNHEALTHY))
    assert registry.model_count() == 3
