"""What the tests of the seeds put into a running registry, and how they look at it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from registry import Backend, BackendStatus, BackendView, Model, Registry
from registry.operations import Call


def backend(id: str, *models: str, status: BackendStatus = BackendStatus.HEALTHY) -> Backend:
    """A backend of this id that has these models."""
    return Backend(url=f"http://{id}:8000", id=id, models=[Model(id=model) for model in models], status=status)


def view_of(registry: Registry, id: str) -> BackendView:
    """A backend that is there."""
    view = registry.get_backend(id)
    assert view is not None
    return view


def told(registry: Registry, call: Call[Any]) -> Any:
    """What the owner itself says now; for what other processes have done a moment ago."""
    (answer,) = registry.batch([call])
    return answer


def clean(registry: Registry) -> None:
    """Remove all that is there."""
    for view in told(registry, Registry.get_all_backends.call()):
        registry.remove_backend(view.id)


@contextmanager
def added(registry: Registry, id: str) -> Iterator[str]:
    """A backend that is there for the length of a block."""
    registry.add_backend(backend(id))
    try:
        yield id
    finally:
        registry.remove_backend(id)
