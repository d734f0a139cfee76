"""What the members of a crew do."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence

from registry import Backend, BackendNotFound, BackendStatus, DuplicateBackend, Model, Registry


def increment(registry: Registry, id: str, times: int) -> list[int]:
    """Count requests; the numbers that were given."""
    return [registry.increment_pending(id) for _ in range(times)]


def read(registry: Registry, ids: Sequence[str], times: int) -> Counter[tuple[BackendStatus, str | None]]:
    """Get one backend after the other; how often which status was seen with which error."""
    seen: Counter[tuple[BackendStatus, str | None]] = Counter()
    for number in range(times):
        view = registry.get_backend(ids[number % len(ids)], fresh=True)
        if view is not None:
            seen[view.status, view.last_error] += 1
    return seen


def write(registry: Registry, ids: Sequence[str], times: int) -> str:
    """Check one backend after the other, which is well and ill by turns, and count it; the error that was told."""
    error = f"told by {os.getpid()}"
    for number in range(times):
        id = ids[number % len(ids)]
        if number // len(ids) % 2:
            registry.update_status(id, BackendStatus.HEALTHY)
        else:
            registry.update_status(id, BackendStatus.UNHEALTHY, error)
        registry.increment_total_requests(id)
    return error


def add_and_remove(registry: Registry, id: str, times: int, keep: bool) -> Counter[str]:
    """Add and remove one backend, which each process gives a model of its own; what came of it.

    Args:
        registry: The registry.
        id: Of the backend.
        times: How often.
        keep: Whether the last addition is not followed by a removal.
    """
    own = f"of-{os.getpid()}"
    backend = Backend(url=f"http://{own}:8000", id=id, models=(Model(id="shared"), Model(id=own)))
    came: Counter[str] = Counter()
    for number in range(times):
        try:
            registry.add_backend(backend)
            came["added"] += 1
        except DuplicateBackend:
            came["duplicate"] += 1
        if keep and number == times - 1:
            break
        try:
            registry.remove_backend(id)
            came["removed"] += 1
        except BackendNotFound:
            came["not found"] += 1
    return came


def swap_models(registry: Registry, ids: Sequence[str], lists: Sequence[Sequence[str]], times: int) -> None:
    """Give one backend after the other another of these lists of models."""
    for number in range(times):
        models = [Model(id=model) for model in lists[number % len(lists)]]
        registry.update_models(ids[number // len(lists) % len(ids)], models)


def query(registry: Registry, model: str, times: int) -> Counter[tuple[tuple[str, tuple[str, ...]], ...]]:
    """Ask who has a model; how often which backends with which models were given."""

    def ask() -> tuple[tuple[str, tuple[str, ...]], ...]:
        views = registry.get_backends_for_model(model, fresh=True)
        return tuple((view.id, tuple(one.id for one in view.models)) for view in views)

    return Counter(ask() for _ in range(times))
