"""What the worker processes of these tests do, and the registry as they use it: every operation is written down."""

from __future__ import annotations

import fcntl
import os
import random
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import msgspec

from registry import Backend, BackendStatus, BackendView, Lease, Model, Registry
from tests.linearizability.history import Recorder
from tests.linearizability.model import END, HEALTHY

ASK_THE_OWNER: dict[str, Any] = {}
"""The arguments by which a read asks the owner; only such reads are promised to be linearizable."""


class RecordedRegistry:
    """The operations that are checked, with plain arguments and results.

    Args:
        registry: What is asked.
        recorder: Where it is written down.

    Attributes:
        leases: What this process holds.
    """

    def __init__(self, registry: Registry, recorder: Recorder) -> None:
        self._registry = registry
        self._record = recorder.record
        self.leases: list[Lease] = []

    def add_backend(self, id: str, models: tuple[str, ...], status: str = HEALTHY) -> None:
        """Add a backend."""
        backend = Backend(id=id, url=f"http://{id}:8000", models=_models(models), status=BackendStatus(status))
        self._record("add_backend", (id, models, status), lambda: self._registry.add_backend(backend))

    def remove_backend(self, id: str) -> None:
        """Remove a backend."""
        self._record("remove_backend", (id,), lambda: _seen(self._registry.remove_backend(id)))

    def update_status(self, id: str, status: str, error: str | None) -> None:
        """Note the result of a check."""
        self._record(
            "update_status",
            (id, status, error),
            lambda: self._registry.update_status(id, BackendStatus(status), error),
        )

    def update_models(self, id: str, models: tuple[str, ...]) -> None:
        """Replace the models of a backend."""
        self._record("update_models", (id, models), lambda: self._registry.update_models(id, _models(models)))

    def increment_pending(self, id: str) -> None:
        """Count one more request in flight."""
        self._record("increment_pending", (id,), lambda: self._registry.increment_pending(id))

    def decrement_pending(self, id: str) -> None:
        """Count one less."""
        self._record("decrement_pending", (id,), lambda: self._registry.decrement_pending(id))

    def increment_total_requests(self, id: str) -> None:
        """Count a request that has ended."""
        self._record("increment_total_requests", (id,), lambda: self._registry.increment_total_requests(id))

    def update_latency(self, id: str, latency_ms: int) -> None:
        """Take a sample into the average."""
        self._record("update_latency", (id, latency_ms), lambda: self._registry.update_latency(id, latency_ms))

    def get_backend(self, id: str) -> None:
        """Read one backend."""
        self._record("get_backend", (id,), lambda: _seen(self._registry.get_backend(id, **ASK_THE_OWNER)))

    def get_all_backends(self) -> None:
        """Read all backends."""
        self._record("get_all_backends", (), lambda: _all_seen(self._registry.get_all_backends(**ASK_THE_OWNER)))

    def get_healthy_backends(self) -> None:
        """Read the healthy backends."""
        self._record(
            "get_healthy_backends", (), lambda: _all_seen(self._registry.get_healthy_backends(**ASK_THE_OWNER))
        )

    def get_backends_for_model(self, model: str) -> None:
        """Read the backends that have a model, sorted by id."""
        self._record(
            "get_backends_for_model",
            (model,),
            lambda: sorted(_all_seen(self._registry.get_backends_for_model(model, **ASK_THE_OWNER))),
        )

    def backend_count(self) -> None:
        """Count the backends."""
        self._record("backend_count", (), lambda: self._registry.backend_count(**ASK_THE_OWNER))

    def acquire(self, model: str) -> None:
        """Take a lease, and hold it."""

        def ask() -> tuple[int, str]:
            lease = self._registry.acquire(model)
            self.leases.append(lease)
            return lease.id, lease.backend

        self._record("acquire", (model,), ask)

    def release(self, lease: Lease, latency_ms: int | None) -> None:
        """Give a lease back."""
        self._record(
            "release",
            (lease.id, lease.backend, latency_ms),
            lambda: self._registry.release(lease, latency_ms=latency_ms),
        )


def _models(ids: Sequence[str]) -> list[Model]:
    return [Model(id=id) for id in ids]


def _seen(view: BackendView | None) -> tuple[Any, ...] | None:
    """What is checked of a view; see `model.Registry.view`."""
    if view is None:
        return None
    models = tuple(model.id for model in view.models)
    counts = view.pending_requests, view.total_requests, view.avg_latency_ms
    return view.id, view.status.value, view.last_error, models, *counts


def _all_seen(views: Sequence[BackendView]) -> tuple[Any, ...]:
    return tuple(map(_seen, views))


class Plan(msgspec.Struct, frozen=True):
    """What one process does.

    Attributes:
        process: Its number.
        seed: Which operations it chooses.
        operations: How many.
        backends: Ids of the backends that it deals with.
        apart: Whether each operation is about one backend, so that each backend's part can be checked apart.
    """

    process: int
    seed: int
    operations: int
    backends: tuple[str, ...]
    apart: bool

    def models_of(self, backend: str) -> tuple[str, ...]:
        """The models that a backend may have; see `model.place`."""
        return (f"{backend}/x", f"{backend}/y") if self.apart else ("x", "y")


class Chooser:
    """Does one operation after the other, by chance.

    Args:
        registry: Whom it asks.
        plan: What about.
    """

    def __init__(self, registry: RecordedRegistry, plan: Plan) -> None:
        self._registry = registry
        self._plan = plan
        self._chance = random.Random(plan.seed)
        one: dict[Callable[[str], None], int] = {
            registry.get_backend: 6,
            registry.increment_pending: 6,
            registry.decrement_pending: 4,
            registry.increment_total_requests: 2,
            registry.remove_backend: 1,
            self._add: 4,
            self._update_status: 2,
            self._update_models: 2,
            self._update_latency: 2,
            self._acquire: 6,
            self._release: 6,
            self._read_for_model: 2,
        }
        if not plan.apart:
            one |= {self._read_all: 3}
        self._choices, self._weights = list(one), list(one.values())

    def step(self) -> None:
        """Do one operation."""
        [choice] = self._chance.choices(self._choices, self._weights)
        choice(self._chance.choice(self._plan.backends))

    def _models(self, backend: str) -> tuple[str, ...]:
        models = self._plan.models_of(backend)
        return tuple(self._chance.sample(models, self._chance.randint(0, len(models))))

    def _model(self, backend: str) -> str:
        return self._chance.choice(self._plan.models_of(backend))

    def _add(self, backend: str) -> None:
        self._registry.add_backend(backend, self._models(backend))

    def _update_status(self, backend: str) -> None:
        status, error = self._chance.choice(((HEALTHY, None), (HEALTHY, "ignored"), ("unhealthy", "it is down")))
        self._registry.update_status(backend, status, error)

    def _update_models(self, backend: str) -> None:
        self._registry.update_models(backend, self._models(backend))

    def _update_latency(self, backend: str) -> None:
        self._registry.update_latency(backend, self._chance.randrange(1_000))

    def _acquire(self, backend: str) -> None:
        self._registry.acquire(self._model(backend))

    def _release(self, _: str) -> None:
        """Of all that it holds one; and sometimes once more, which must be refused."""
        leases = self._registry.leases
        if not leases:
            return
        lease = leases.pop(self._chance.randrange(len(leases)))
        latency_ms = self._chance.choice((None, self._chance.randrange(1_000)))
        self._registry.release(lease, latency_ms)
        if not self._chance.randrange(5):
            self._registry.release(lease, latency_ms)

    def _read_for_model(self, backend: str) -> None:
        self._registry.get_backends_for_model(self._model(backend))

    def _read_all(self, _: str) -> None:
        registry = self._registry
        self._chance.choice((registry.get_all_backends, registry.get_healthy_backends, registry.backend_count))()


class Gate:
    """A file that is locked as long as nobody may pass.

    Args:
        path: The file.
    """

    def __init__(self, path: Path) -> None:
        self._fd = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
        fcntl.flock(self._fd, fcntl.LOCK_EX)

    def open(self) -> None:
        """Let all pass, now and later."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


def wait_at(path: Path) -> None:
    """Wait until a gate is open."""
    fd = os.open(path, os.O_RDWR)
    fcntl.flock(fd, fcntl.LOCK_SH)
    os.close(fd)


BEGIN_GATE = "begin"
END_GATE = "end"


def history_path(directory: Path, process: int) -> Path:
    """Where a process writes down what it does."""
    return directory / f"{process}.history"


def ready_path(directory: Path, process: int) -> Path:
    """The file that is there when the owner knows a process."""
    return directory / f"{process}.ready"


def work(registry: Registry, directory: str, encoded: bytes) -> None:
    """The life of a worker process: ready, work, wait for the end."""
    plan = msgspec.msgpack.decode(encoded, type=Plan)
    where = Path(directory)
    recorder = Recorder(history_path(where, plan.process))
    chooser = Chooser(RecordedRegistry(registry, recorder), plan)
    registry.owner_statistics()
    ready_path(where, plan.process).touch()
    wait_at(where / BEGIN_GATE)
    for _ in range(plan.operations):
        chooser.step()
    wait_at(where / END_GATE)
    recorder.begin(END)
    registry.close()
