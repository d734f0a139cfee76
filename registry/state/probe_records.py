"""The records of health checks: compact, immutable structs."""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta

from registry.kinds import BackendType, Target

ProbeNumber = Annotated[int, Meta(ge=1, le=2**63 - 1)]


class ProbeOrder(msgspec.Struct, frozen=True, array_like=True):
    """One thing to be probed, as it is handed to the health checker.

    Attributes:
        number: Its number, by which the finding is reported.
        target: Whether it is a backend or a service.
        name: The id of the backend or the name of the service.
        url: A backend's base address; the whole address to get from a service.
        backend_type: What software the backend runs; `GENERIC` for a service.
        urgent: Whether somebody waits for the finding.
    """

    number: int
    target: Target
    name: str
    url: str
    backend_type: BackendType = BackendType.GENERIC
    urgent: bool = False
