"""The phone book and the switchboard for self-hosted AI servers.

>>> from registry import Backend, BackendStatus, Model, Supervisor
>>> with Supervisor() as supervisor:
...     registry = supervisor.registry
...     llama = Backend(url="http://127.0.0.1:8001", models=[Model(id="llama3")], status=BackendStatus.HEALTHY)
...     registry.add_backend(llama)
...     with registry.lease("llama3") as lease:
...         busy = registry.get_backend(llama.id).pending_requests
>>> lease.url, busy
('http://127.0.0.1:8001', 1)
"""

from __future__ import annotations

from actors.lazy import lazily

TYPE_CHECKING = False  # that of `typing` takes a while to load, in which the command line could not obey Ctrl-C
if TYPE_CHECKING:
    from actors.processes.restarts import Restart as Restart
    from registry.client import AsyncRegistry as AsyncRegistry
    from registry.client import Registry as Registry
    from registry.connection import connect as connect
    from registry.connection import connect_async as connect_async
    from registry.errors import AlreadyRunning as AlreadyRunning
    from registry.errors import AttachFailed as AttachFailed
    from registry.errors import BackendNotFound as BackendNotFound
    from registry.errors import CallTimeout as CallTimeout
    from registry.errors import CommandInvalid as CommandInvalid
    from registry.errors import Compacted as Compacted
    from registry.errors import DuplicateBackend as DuplicateBackend
    from registry.errors import InvalidField as InvalidField
    from registry.errors import LeaseNotFound as LeaseNotFound
    from registry.errors import MissingMainGuard as MissingMainGuard
    from registry.errors import ModelNotFound as ModelNotFound
    from registry.errors import NoBackendAvailable as NoBackendAvailable
    from registry.errors import OutcomeUnknown as OutcomeUnknown
    from registry.errors import Overloaded as Overloaded
    from registry.errors import QueueFull as QueueFull
    from registry.errors import RegistryError as RegistryError
    from registry.errors import RevisionMismatch as RevisionMismatch
    from registry.errors import ServiceNotFound as ServiceNotFound
    from registry.errors import StartedElsewhere as StartedElsewhere
    from registry.errors import StartFailed as StartFailed
    from registry.errors import StorageUnavailable as StorageUnavailable
    from registry.errors import SystemStopped as SystemStopped
    from registry.kinds import BackendRole as BackendRole
    from registry.kinds import BackendStatus as BackendStatus
    from registry.kinds import BackendType as BackendType
    from registry.kinds import Connection as Connection
    from registry.kinds import DiscoverySource as DiscoverySource
    from registry.kinds import Durability as Durability
    from registry.kinds import Outcome as Outcome
    from registry.kinds import ServiceHealth as ServiceHealth
    from registry.models import Backend as Backend
    from registry.models import BackendList as BackendList
    from registry.models import BackendView as BackendView
    from registry.models import Change as Change
    from registry.models import Lease as Lease
    from registry.models import LeaseView as LeaseView
    from registry.models import Model as Model
    from registry.models import RowChange as RowChange
    from registry.state.service_records import ServiceView as ServiceView
    from registry.supervisor import Supervisor as Supervisor
    from registry.supervisor import Worker as Worker

_HOMES = {
    "AlreadyRunning": "errors",
    "AsyncRegistry": "client",
    "AttachFailed": "errors",
    "Backend": "models",
    "BackendList": "models",
    "BackendNotFound": "errors",
    "BackendRole": "kinds",
    "BackendStatus": "kinds",
    "BackendType": "kinds",
    "BackendView": "models",
    "CallTimeout": "errors",
    "Change": "models",
    "CommandInvalid": "errors",
    "Compacted": "errors",
    "connect": "connection",
    "connect_async": "connection",
    "Connection": "kinds",
    "DiscoverySource": "kinds",
    "DuplicateBackend": "errors",
    "Durability": "kinds",
    "InvalidField": "errors",
    "Lease": "models",
    "LeaseNotFound": "errors",
    "LeaseView": "models",
    "MissingMainGuard": "errors",
    "Model": "models",
    "ModelNotFound": "errors",
    "NoBackendAvailable": "errors",
    "Outcome": "kinds",
    "OutcomeUnknown": "errors",
    "Overloaded": "errors",
    "QueueFull": "errors",
    "Registry": "client",
    "RegistryError": "errors",
    "Restart": "supervisor",
    "RevisionMismatch": "errors",
    "RowChange": "models",
    "ServiceHealth": "kinds",
    "ServiceNotFound": "errors",
    "ServiceView": "state.service_records",
    "StartedElsewhere": "errors",
    "StartFailed": "errors",
    "StorageUnavailable": "errors",
    "Supervisor": "supervisor",
    "SystemStopped": "errors",
    "Worker": "supervisor",
}
"""The public names and the modules they live in; loaded when first used, so that the owner stays small."""

__all__ = sorted(_HOMES)  # noqa: PLE0605 - computed, so that there is one list

__getattr__ = lazily(__name__, _HOMES)
