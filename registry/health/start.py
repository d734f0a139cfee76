"""What the health checker is told at its start."""

from __future__ import annotations

import msgspec

from registry.addresses import AddressSettings
from registry.logs import LogSettings


class HealthStart(msgspec.Struct, frozen=True):
    """The payload of the health checker.

    Attributes:
        api_keys: The key of each backend that needs one, by URL.
        addresses: Where it may connect to.
        timeout_s: How long one probe may take, in seconds.
        pseudonym: By which this server knows a probe of itself.
        logs: How it logs.
    """

    api_keys: dict[str, str]
    addresses: AddressSettings
    timeout_s: float
    pseudonym: str
    logs: LogSettings

    def __repr__(self) -> str:
        # Keys must not reach a log by way of a traceback or a debug line.
        return f"HealthStart(api_keys=<{len(self.api_keys)}>, timeout_s={self.timeout_s})"
