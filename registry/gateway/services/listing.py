"""The JSON of each service, made once and kept until something of it changes."""

from __future__ import annotations

from time import monotonic

import msgspec

from registry.gateway.services.asked import KeepsServices
from registry.gateway.services.queries import Wanted
from registry.state.servers import RUNNING
from registry.state.service_records import BeatView, ServiceRecord, ServiceView

_encode = msgspec.json.Encoder().encode


class Rendered(msgspec.Struct, frozen=True, gc=False):
    """A service as JSON, and what that was made of."""

    record: ServiceRecord
    beat: BeatView
    is_healthy: bool
    json: bytes


class Listing:
    """Reads the services of this process's copy.

    Args:
        registry: It keeps the copy; whoever reads brings it up to date first.
    """

    def __init__(self, registry: KeepsServices) -> None:
        self._registry = registry
        self._rendered: dict[str, Rendered] = {}

    def read(self, wanted: Wanted) -> list[bytes]:
        """The JSON of some services, in order."""
        services = self._registry.copy.services
        records, beats = services.records, services.beats
        status, healthy = wanted
        rendered = self._rendered
        found = []
        now = monotonic()
        for name, record in records.items():
            beat = beats.get(name)
            # One that was registered after the copy was brought up to date comes without its heartbeat: it is as if it
            # had been registered after this read.
            if beat is None or (status is not None and record.status != status):
                continue
            is_healthy = record.status == RUNNING and now < beat.fresh_until_s
            if healthy is not None and is_healthy is not healthy:
                continue
            kept = rendered.get(name)
            if kept is None or kept.beat is not beat or kept.record is not record or kept.is_healthy is not is_healthy:
                json = _encode(ServiceView.of(record, beat, is_healthy=is_healthy))
                kept = rendered[name] = Rendered(record, beat, is_healthy, json)
            found.append(kept.json)
        if len(rendered) > len(records):
            self._rendered = {name: kept for name, kept in rendered.items() if name in records}
        return found

    def states(self) -> list[tuple[ServiceRecord, bool]]:
        """All services in order, and whether each is healthy."""
        services = self._registry.copy.services
        beats = services.beats
        now = monotonic()
        return [
            (record, record.status == RUNNING and now < beat.fresh_until_s)
            for name, record in services.records.items()
            if (beat := beats.get(name)) is not None
        ]
