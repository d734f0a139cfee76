"""Every operation of the registry, written once, for both faces.

An operation turns its arguments into a command and says how the answer is read. `Registry` (blocking) and
`AsyncRegistry` (asyncio) inherit them all; a face adds only the waiting.
"""

from __future__ import annotations

from registry.operations.backends import BackendOperations
from registry.operations.calls import NOTHING, AsyncFace, BlockingFace, Call, asked_of, operation, results_of
from registry.operations.counters import CounterOperations
from registry.operations.leases import LeaseOperations, release_command
from registry.operations.probes import ProbeOperations
from registry.operations.services import ServiceOperations

__all__ = [
    "NOTHING",
    "AsyncFace",
    "BlockingFace",
    "Call",
    "Operations",
    "asked_of",
    "operation",
    "release_command",
    "results_of",
]


class Operations(BackendOperations, CounterOperations, LeaseOperations, ServiceOperations, ProbeOperations):
    """The message API: each method is one message to the owner. The names are those of the specification.

    All of them may raise the `CallError`s of `actors.errors` besides what they name.
    """
