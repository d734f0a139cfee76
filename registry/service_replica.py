"""The services in a worker process's own copy of the registry."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from typing import Any

from actors.clock import Clock
from actors.replica import Replica
from registry.operations.calls import checked
from registry.state.servers import RUNNING
from registry.state.service_records import BeatView, ServiceRecord, ServiceView
from registry.views import BEATS, SERVICES


class ServiceReplica:
    """Services as they were at the latest `sync`, or later; their heartbeats are those of then.

    Args:
        replica: The copy.
        clock: By which heartbeats age.

    Attributes:
        lock: Protects the copy, if several threads use it.
    """

    def __init__(self, replica: Replica, clock: Clock) -> None:
        self._replica = replica
        self._clock = clock
        self.lock: Callable[[], AbstractContextManager[Any]] = nullcontext

    @property
    def records(self) -> dict[str, ServiceRecord]:
        """By name, in order of their first registration; not to be changed."""
        return self._replica.rows(SERVICES.name)

    @property
    def beats(self) -> dict[str, BeatView]:
        """The latest sign of life of each, by name; not to be changed."""
        return self._replica.rows(BEATS.name)

    def list(self, *, status: str | None = None, healthy: bool | None = None) -> list[ServiceView]:
        """Those that are all of what is given, as they are at this moment, in order of their first registration.

        Args:
            status: Their own word.
            healthy: Whether they are healthy.

        Raises:
            InvalidField: An argument is of a wrong type.
        """
        if status is not None:
            checked("status", status, str)
        if healthy is not None:
            checked("healthy", healthy, bool)
        with self.lock():
            return [view for view in self._views(status) if healthy is None or view.is_healthy is healthy]

    def _views(self, status: str | None) -> Iterator[ServiceView]:
        beats, now_s = self.beats, self._clock.monotonic()
        for name, record in self.records.items():
            if status is None or record.status == status:
                beat = beats.get(name, _NONE)
                is_healthy = record.status == RUNNING and now_s < beat.fresh_until_s
                yield ServiceView.of(record, beat, is_healthy=is_healthy)


_NONE = BeatView(0.0, 0.0)
"""Of a service that has come since the latest `sync`."""
