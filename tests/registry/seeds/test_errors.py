"""T04: what the registry refuses, and how it says so."""

from __future__ import annotations

import pytest

from registry import BackendNotFound, DuplicateBackend, Registry, RegistryError
from tests.registry.seeds.systems import backend


def test_error_duplicate_backend(registry: Registry) -> None:
    """The error of a second addition holds the id, and its text says what is wrong."""
    registry.add_backend(backend("gpu-1"))
    with pytest.raises(DuplicateBackend, match=r"already exists.*gpu-1") as refusal:
        registry.add_backend(backend("gpu-1"))
    assert refusal.value.id == "gpu-1"


def test_error_backend_not_found(registry: Registry) -> None:
    """The error of a removal of nothing holds the id, and its text says what is wrong."""
    with pytest.raises(BackendNotFound, match=r"not found.*gpu-1") as refusal:
        registry.remove_backend("gpu-1")
    assert refusal.value.id == "gpu-1"


def test_error_display() -> None:
    """The texts are the seeds', and one `except` catches both."""
    errors = [DuplicateBackend("gpu-1"), BackendNotFound("gpu-1")]
    assert [str(error) for error in errors] == ["backend already exists: gpu-1", "backend not found: gpu-1"]
    assert issubclass(RegistryError, Exception)
    assert all(isinstance(error, RegistryError) for error in errors)
