"""What the discovery process is told at its start."""

from __future__ import annotations

import msgspec

from registry.logs import LogSettings


class DiscoveryStart(msgspec.Struct, frozen=True):
    """The payload of the discovery process.

    Attributes:
        backends: The named backends, each as the JSON of a `Backend`.
        logs: How it logs.
    """

    backends: list[str]
    logs: LogSettings
