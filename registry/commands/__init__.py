"""What can be said to the registry's owner, with the limits of every field."""

from __future__ import annotations

from registry.commands.backends import (
    AddBackend,
    CountAll,
    DrainBackend,
    GetBackend,
    GetBackends,
    GetModels,
    HasBackendUrl,
    ListBackends,
    PutBackend,
    RemoveBackend,
    UndrainBackend,
    UpdateBackend,
    UpdateModels,
    UpdateStatus,
)
from registry.commands.base import Command
from registry.commands.counters import (
    CountHttpError,
    DecrementPending,
    GetMetrics,
    IncrementPending,
    IncrementTotalRequests,
    UpdateLatency,
)
from registry.commands.leases import LEASE_S, Acquire, ForceRelease, GetLeases, Release
from registry.commands.probes import NextProbes, ReportProbe
from registry.commands.services import (
    CheckService,
    GetService,
    Heartbeat,
    Heartbeats,
    RegisterService,
    RemoveService,
    UpdateService,
)

AnyCommand = (
    AddBackend
    | PutBackend
    | UpdateBackend
    | RemoveBackend
    | DrainBackend
    | UndrainBackend
    | GetBackend
    | GetBackends
    | ListBackends
    | GetModels
    | CountAll
    | HasBackendUrl
    | UpdateStatus
    | UpdateModels
    | IncrementPending
    | DecrementPending
    | IncrementTotalRequests
    | UpdateLatency
    | Acquire
    | Release
    | ForceRelease
    | GetLeases
    | CountHttpError
    | GetMetrics
    | RegisterService
    | UpdateService
    | Heartbeat
    | Heartbeats
    | RemoveService
    | GetService
    | CheckService
    | NextProbes
    | ReportProbe
)

__all__ = [
    "LEASE_S",
    "Acquire",
    "AddBackend",
    "AnyCommand",
    "CheckService",
    "Command",
    "CountAll",
    "CountHttpError",
    "DecrementPending",
    "DrainBackend",
    "ForceRelease",
    "GetBackend",
    "GetBackends",
    "GetLeases",
    "GetMetrics",
    "GetModels",
    "GetService",
    "HasBackendUrl",
    "Heartbeat",
    "Heartbeats",
    "IncrementPending",
    "IncrementTotalRequests",
    "ListBackends",
    "NextProbes",
    "PutBackend",
    "RegisterService",
    "Release",
    "RemoveBackend",
    "RemoveService",
    "ReportProbe",
    "UndrainBackend",
    "UpdateBackend",
    "UpdateLatency",
    "UpdateModels",
    "UpdateService",
    "UpdateStatus",
]
