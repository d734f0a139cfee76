"""What the tests of the seeds put into a running registry, and how they look at it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from registry import Backend, BackendStatus, BackendView, Model, Registry


def backend(id: str, *models: str, status: BackendStatus = BackendStatus.HEALTHY) -> Backend:
    """A backend of this id that has these models."""
    return Backend(url=f"http://{id}:8000", id=id, models=[Model(id=model) for model in models], status=status)


def view_of(registry: Registry, id: str, *, fresh: bool = False) -> BackendView:
    """A backend that is there."""
    view = registry.get_backend(id, fresh=fresh)
    assert view is not None
    return view


@contextmanager
def added(registry: Registry, id: str) -> Iterator[str]:
    """A backend that is there for the length of a block."""
    registry.add_backend(backend(id))
    try:
        yield id
    finally:
        registry.remove_backend(id)
