"""The registry as an actor."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import chain
from typing import Any

import msgspec
from msgspec import UNSET

from actors.actor import LATER, Actor, CallId, Context
from actors.exits import Exit
from actors.tables import Table
from actors.views import View
from registry import commands as c
from registry.errors import DuplicateBackend, NoBackendAvailable
from registry.kinds import BackendStatus, DiscoverySource, Outcome
from registry.metrics import BackendMetrics, Metrics, ServiceCounts
from registry.state.backends import Backends
from registry.state.health import Health
from registry.state.leases import Leases
from registry.state.lifetime import Lifetime
from registry.state.line import Line
from registry.state.probe_records import Finding
from registry.state.records import BackendListing, BackendState, HeldLease, WaitingRecord
from registry.state.rules import DEFAULT_RULES, HealthRules
from registry.state.service_records import ServiceRecord, ServiceView
from registry.state.services import Services
from registry.state.switchboard import BUSY_RETRY_AFTER_S, Switchboard
from registry.state.traffic import Traffic, histograms
from registry.views import views


class RegistryActor(Actor):
    """Backends, leases, those who wait for one, services, health and counts.

    Args:
        rules: How health is judged.
    """

    commands = c.AnyCommand

    def __init__(self, rules: HealthRules = DEFAULT_RULES) -> None:
        self.rules = rules
        self.backends = Backends()
        self.health = Health(rules, self.backends)
        self._choice = self.backends.choice
        self.leases = Leases(self.backends.pending, self.backends.choice.latest)
        self.traffic = Traffic()
        self.line = Line()
        self.switchboard = Switchboard(self.backends, self.leases, self.line)
        self.lifetime = Lifetime()
        self.services = Services(rules, self.lifetime, self.backends, self.traffic, self.health)
        self.health.attend(self.services)
        self._tables = tuple(
            table
            for part in (self.backends, self.leases, self.line, self.traffic, self.services, self.health)
            for table in part.tables
        )
        self._views = views(self.backends, self.leases, self.services)
        self._handlers: dict[type, Callable[[Any, Context], Any]] = {
            c.AddBackend: self._add_backend,
            c.PutBackend: self._put_backend,
            c.UpdateBackend: self._update_backend,
            c.RemoveBackend: self._remove_backend,
            c.DrainBackend: lambda command, context: self.backends.drain(command.id, *_now(context)),
            c.UndrainBackend: lambda command, context: self.backends.undrain(command.id, *_now(context)),
            c.GetBackend: lambda command, _: self.backends.state(command.id),
            c.GetBackends: self._get_backends,
            c.ListBackends: self._list_backends,
            c.GetModels: lambda _, __: self.backends.healthy_models(),
            c.CountAll: lambda _, __: (len(self.backends.records), self.backends.model_count()),
            c.HasBackendUrl: lambda command, _: self.backends.has_url(command.url),
            c.UpdateStatus: self._update_status,
            c.UpdateModels: self._update_models,
            c.IncrementPending: lambda command, context: self.backends.increment_pending(command.id, context.session),
            c.DecrementPending: lambda command, context: self.backends.decrement_pending(command.id, context.session),
            c.IncrementTotalRequests: lambda command, _: self.backends.increment_total(command.id),
            c.UpdateLatency: lambda command, _: self.backends.update_latency(command.id, command.latency_ms),
            c.Acquire: self._acquire,
            c.Release: self._release,
            c.ForceRelease: self._force_release,
            c.GetLeases: self._get_leases,
            c.NextProbes: lambda command, context: (
                self.health.next_probes(command.most, context, urgent_only=command.urgent_only) or LATER
            ),
            c.ReportProbe: self._report_probe,
            c.CheckService: lambda command, context: self.health.check(command.name, context) or LATER,
            c.CountHttpError: lambda command, _: self.traffic.count_http_error(command.code),
            c.GetMetrics: self._get_metrics,
            c.RegisterService: self._register_service,
            c.UpdateService: self._update_service,
            c.Heartbeat: lambda command, context: self.services.heartbeat(command.name, command.status, context),
            c.Heartbeats: lambda command, context: self.services.heartbeats(command.names, context),
            c.RemoveService: lambda command, context: self.services.remove(command.name, context),
            c.GetService: lambda command, context: self.services.view(command.name, context),
        }

    @property
    def tables(self) -> Sequence[Table[Any, Any]]:
        """All tables of the registry."""
        return self._tables

    @property
    def views(self) -> Sequence[View[Any, Any]]:
        """What worker processes keep copies of."""
        return self._views

    def apply(self, command: c.Command, context: Context) -> Any:
        """Do a command, and serve those for whom it has made room; see `registry.commands` for the results."""
        result = self._handlers[type(command)](command, context)
        if self.backends.stirred or self._choice.stirred or self._choice.freed:
            self._follow(context)
        return result

    def cancelled(self, call: CallId, context: Context) -> None:  # noqa: ARG002 - the contract's
        """Take what waits out of its line."""
        if call in self.line.records:
            self.line.leave(call)
        else:
            self.health.cancelled(call)

    def session_ended(self, context: Context, exit: Exit | None) -> None:  # noqa: ARG002 - however it ended
        """Give back the leases, the raw increments and the probes of a session."""
        self.leases.end_session(context.session)
        self.backends.pending.end_session(context.session)
        self.line.forget(context.session)
        self.health.end_session(context.session, context)
        self.switchboard.serve(context)

    def wanted_after_death(self, command: c.Command) -> bool:
        """What would only take something for a dead process is not done."""
        return not isinstance(command, c.Acquire | c.IncrementPending | c.NextProbes | c.CheckService)

    def tick(self, context: Context) -> None:
        """Take back the leases whose time is over."""
        self.leases.expire(context.monotonic_s)
        self.services.tick(context)
        self.switchboard.serve(context)

    def due(self, context: Context) -> Iterator[Callable[[Context], None]]:
        """What time has done to probes, and to services."""
        yield partial(self._happen, self.health.tick)
        for event in chain(self.services.due(context), self.health.due()):
            yield partial(self._happen, event)

    def _happen(self, event: Callable[[Context], None], context: Context) -> None:
        event(context)
        self._follow(context)

    def _follow(self, context: Context) -> None:
        """Let health and those who wait for backends follow what has changed of these."""
        if self.backends.stirred:
            self.health.settle(context)
        if self._choice.stirred or self._choice.freed:
            self.switchboard.serve(context)

    def _add_backend(self, command: c.AddBackend, context: Context) -> None:
        self.backends.add(command.backend, *_now(context))
        self.services.backends.configured(command.backend.url, context)

    def _put_backend(self, command: c.PutBackend, context: Context) -> BackendState:
        id = command.backend.id
        if command.only_new and id in self.backends.records:
            raise DuplicateBackend(id)
        self.backends.expect(id, command.expected_revision)
        before = self.backends.records.get(id)
        put = self.backends.put(command.backend, *_now(context), keep_status=command.keep_status)
        self.services.backends.configured(put.record.url, context)
        if before is not None and before.url != put.record.url:
            self.services.backends.configured(before.url, context)
        return put

    def _update_backend(self, command: c.UpdateBackend, context: Context) -> BackendState:
        self.backends.require(command.id)
        self.backends.expect(command.id, command.expected_revision)
        return self.backends.update(
            command.id,
            context.revision + 1,
            name=command.name,
            labels=command.labels,
            priority=command.priority,
            weight=command.weight,
            max_concurrency=command.max_concurrency,
            metadata=command.metadata,
        )

    def _remove_backend(self, command: c.RemoveBackend, context: Context) -> BackendState:
        self.backends.require(command.id)
        self.backends.expect(command.id, command.expected_revision)
        removed = self.backends.remove(command.id)
        self.traffic.forget(command.id)
        if removed.record.discovery_source is not DiscoverySource.SERVICE:
            self.services.backends.configured(removed.record.url, context)
        return removed

    def _get_backends(self, command: c.GetBackends, _: Context) -> list[BackendState]:
        return self.backends.states(command.model, command.status)

    def _list_backends(self, command: c.ListBackends, context: Context) -> BackendListing:
        found = self.backends.listing(command.model, command.status, command.backend_type, command.labels)
        return BackendListing(context.revision, list(found))

    def _update_status(self, command: c.UpdateStatus, context: Context) -> None:
        if command.keep_draining and self.backends.require(command.id).status is BackendStatus.DRAINING:
            return
        self.backends.update_status(command.id, command.status, command.error, *_now(context))

    def _update_models(self, command: c.UpdateModels, context: Context) -> None:
        self.backends.update_models(command.id, command.models, context.revision + 1)

    def _acquire(self, command: c.Acquire, context: Context) -> Any:
        model, exclude, lease_s = command.model, command.exclude, command.lease_s
        grant = self.switchboard.acquire(model, exclude, lease_s, context)
        if grant is not None:
            return grant
        if not command.wait:
            raise NoBackendAvailable(model, BUSY_RETRY_AFTER_S, busy=True)
        waiting = WaitingRecord(
            model, exclude, lease_s, command.priority, context.monotonic_s, deadline_s=context.deadline_s
        )
        self.switchboard.wait(waiting, context)
        return LATER

    def _release(self, command: c.Release, context: Context) -> None:
        lease = self.leases.release(command.lease, context.session)
        measured_ms = command.latency_ms if command.outcome is Outcome.OK else None
        if lease.backend in self.backends.records:
            self.backends.request_ended(lease.backend, measured_ms)
            self.traffic.count(lease.backend, lease.model, command.outcome, measured_ms, command.first_byte_ms)
            self.health.request_ended(lease.backend, command.outcome, lease.granted_s, context)

    def _report_probe(self, command: c.ReportProbe, context: Context) -> None:
        finding = Finding(command.status, command.error, command.models, command.retry_after_s)
        self.health.report(command.number, finding, context)

    def _force_release(self, command: c.ForceRelease, context: Context) -> HeldLease:
        return self.leases.force_release(command.lease, context.monotonic_s, self.name_of)

    def _get_leases(self, command: c.GetLeases, context: Context) -> list[HeldLease]:
        return self.leases.held(command.backend, context.monotonic_s, self.name_of)

    def _get_metrics(self, _: c.GetMetrics, context: Context) -> Metrics:
        services = self.services.records.values()
        return Metrics(
            epoch=context.epoch,
            revision=context.revision,
            leases=len(self.leases.records),
            waiting=len(self.line.records),
            backends=[
                BackendMetrics(record.id, record.status, self.backends.pending.of(record.id))
                for record in self.backends.records.values()
            ],
            traffic=self.traffic.requests_ended(),
            durations=histograms(self.traffic.durations),
            first_bytes=histograms(self.traffic.first_bytes),
            http_errors=dict(self.traffic.http_errors.items()),
            uptime_s=self.lifetime.uptime_s(context),
            services=ServiceCounts(len(services), sum(one.is_healthy for one in services)),
        )

    def _register_service(self, command: c.RegisterService, context: Context) -> ServiceView:
        said = ServiceRecord(
            command.name,
            command.host,
            command.port,
            command.hostname,
            command.url,
            command.status,
            "",
            command.metadata,
        )
        return self.services.register(said, command.timestamp, context)

    def _update_service(self, command: c.UpdateService, context: Context) -> ServiceView:
        said = {field: value for field, value in msgspec.structs.asdict(command).items() if value is not UNSET}
        return self.services.update(context=context, **said)


def _now(context: Context) -> tuple[int, float]:
    """The revision of a change that is made now, and the time."""
    return context.revision + 1, context.wall_s
