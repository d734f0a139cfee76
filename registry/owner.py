"""The registry as an actor."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import msgspec

from actors.actor import Actor, Context
from actors.exits import Exit
from actors.journal import Journal
from actors.tables import Table
from registry import commands as c
from registry.errors import ModelNotFound, NoBackendAvailable
from registry.kinds import BackendStatus, Durability, Outcome
from registry.metrics import BackendMetrics, Metrics
from registry.policies.least_pending import least_pending
from registry.state.backends import Backends
from registry.state.leases import Leases
from registry.state.records import BackendState, Grant, HeldLease, LeaseRecord
from registry.state.traffic import Traffic, histograms
from registry.stores.recovery import recover
from registry.stores.sqlite import SqliteJournal

RETRY_AFTER_S = 5.0
"""When to ask again for a model whose backends are all unavailable."""

JOURNAL = "registry.db"
"""Name of the journal's file in the data directory."""

NAMED_MODELS = 20
"""How many available models an error about an unknown one names."""


class RegistryActor(Actor):
    """Backends, leases and counts."""

    commands = c.AnyCommand

    def __init__(self) -> None:
        self.backends = Backends()
        self.leases = Leases(self.backends.lease_changed)
        self.traffic = Traffic()
        self._tables = (*self.backends.tables, *self.leases.tables, *self.traffic.tables)
        self._handlers: dict[type, Callable[[Any, Context], Any]] = {
            c.AddBackend: self._add_backend,
            c.RemoveBackend: self._remove_backend,
            c.GetBackend: lambda command, _: self.backends.state(command.id),
            c.GetBackends: self._get_backends,
            c.GetModels: lambda _, __: self.backends.healthy_models(),
            c.CountAll: lambda _, __: (len(self.backends.records), self.backends.model_count()),
            c.HasBackendUrl: lambda command, _: self.backends.has_url(command.url),
            c.UpdateStatus: self._update_status,
            c.UpdateModels: lambda command, _: self.backends.update_models(command.id, command.models),
            c.IncrementPending: lambda command, context: self.backends.increment_pending(command.id, context.session),
            c.DecrementPending: lambda command, context: self.backends.decrement_pending(command.id, context.session),
            c.IncrementTotalRequests: lambda command, _: self.backends.increment_total(command.id),
            c.UpdateLatency: lambda command, _: self.backends.update_latency(command.id, command.latency_ms),
            c.Acquire: self._acquire,
            c.Release: self._release,
            c.GetLeases: self._get_leases,
            c.CountHttpError: lambda command, _: self.traffic.count_http_error(command.code),
            c.GetMetrics: self._get_metrics,
        }

    @property
    def tables(self) -> Sequence[Table[Any, Any]]:
        """All tables of the registry."""
        return self._tables

    def apply(self, command: c.Command, context: Context) -> Any:
        """Do a command; see `registry.commands` for the results."""
        return self._handlers[type(command)](command, context)

    def session_ended(self, context: Context, exit: Exit | None) -> None:  # noqa: ARG002 - however it ended
        """Give back the leases and the raw increments of a session."""
        self.leases.end_session(context.session)
        self.backends.end_session(context.session)

    def wanted_after_death(self, command: c.Command) -> bool:
        """What would only take something for a dead process is not done."""
        return not isinstance(command, c.Acquire | c.IncrementPending)

    def tick(self, context: Context) -> None:
        """Take back the leases whose time is over."""
        self.leases.expire(context.monotonic_s)

    def _add_backend(self, command: c.AddBackend, context: Context) -> None:
        self.backends.add(command.backend, context.wall_s)

    def _remove_backend(self, command: c.RemoveBackend, _: Context) -> BackendState:
        removed = self.backends.remove(command.id)
        self.traffic.forget(command.id)
        self.leases.forget(command.id)
        return removed

    def _get_backends(self, command: c.GetBackends, _: Context) -> list[BackendState]:
        return self.backends.states(command.model, command.status)

    def _update_status(self, command: c.UpdateStatus, context: Context) -> None:
        self.backends.update_status(command.id, command.status, command.error, context.wall_s)

    def _acquire(self, command: c.Acquire, context: Context) -> Grant:
        backends = self.backends
        having = list(backends.having(command.model))
        if not having:
            raise ModelNotFound(command.model, backends.healthy_models()[:NAMED_MODELS])
        candidates = [
            id for id in having if id not in command.exclude and backends.require(id).status is BackendStatus.HEALTHY
        ]
        if not candidates:
            raise NoBackendAvailable(command.model, RETRY_AFTER_S)
        chosen = least_pending(candidates, backends.pending, self.leases.latest)
        now_s = context.monotonic_s
        lease = LeaseRecord(context.session, chosen, command.model, now_s, now_s + command.lease_s)
        id = self.leases.grant(lease, context.epoch)
        return Grant(id, chosen, backends.require(chosen).url, command.model, lease.deadline_s)

    def _release(self, command: c.Release, context: Context) -> None:
        lease = self.leases.release(command.lease, context.session)
        measured_ms = command.latency_ms if command.outcome is Outcome.OK else None
        if lease.backend in self.backends.records:
            self.backends.request_ended(lease.backend, measured_ms)
            self.traffic.count(lease.backend, lease.model, command.outcome, measured_ms, command.first_byte_ms)

    def _get_leases(self, _: c.GetLeases, __: Context) -> list[HeldLease]:
        return self.leases.held()

    def _get_metrics(self, _: c.GetMetrics, context: Context) -> Metrics:
        return Metrics(
            epoch=context.epoch,
            revision=context.revision,
            leases=len(self.leases.records),
            backends=[
                BackendMetrics(record.id, record.status, self.backends.pending[record.id])
                for record in self.backends.records.values()
            ],
            traffic=self.traffic.requests_ended(),
            durations=histograms(self.traffic.durations),
            first_bytes=histograms(self.traffic.first_bytes),
            http_errors=dict(self.traffic.http_errors.items()),
        )


class Options(msgspec.Struct, frozen=True):
    """How the owner is started.

    Attributes:
        directory: Where the journal is.
        ephemeral: Whether the directory is removed at the end.
        durability: What an answered change outlives.
        recover: Whether a damaged journal is replaced by what is readable of it.
    """

    directory: str
    ephemeral: bool
    durability: Durability = Durability.PROCESS
    recover: bool = False


def build(options: bytes) -> tuple[Actor, Journal]:
    """The actor and its journal, for the owner process."""
    wanted = msgspec.msgpack.decode(options, type=Options)
    directory = Path(wanted.directory)
    actor = RegistryActor()
    path = directory / JOURNAL
    if wanted.recover:
        recover(path, actor.tables)
    journal = SqliteJournal(path, actor.tables, wanted.durability)
    return actor, _Ephemeral(journal, directory) if wanted.ephemeral else journal


class _Ephemeral:
    """A journal whose directory goes with it: the owner is the last to leave, even when the supervisor was killed."""

    def __init__(self, journal: SqliteJournal, directory: Path) -> None:
        self._directory = directory
        self._journal = journal
        self.load = journal.load
        self.commit = journal.commit
        self.holds = journal.holds
        self.history = journal.history

    def close(self) -> None:
        """Finish and remove everything."""
        self._journal.close()
        shutil.rmtree(self._directory, ignore_errors=True)
