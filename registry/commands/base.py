"""What all commands have in common."""

from __future__ import annotations

import msgspec


class Command(msgspec.Struct, frozen=True, tag=True, forbid_unknown_fields=True):
    """Base of the commands. On the wire a command is a map with its class's name under `type`."""
