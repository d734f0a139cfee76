"""Commands about services: whoever has a name, an address and a heartbeat."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
from msgspec import UNSET, Meta, UnsetType

from registry.commands.base import Command
from registry.state.service_records import ServiceName, ServicePort, ServiceText

MAX_HEARTBEATS = 1_000
"""So many at most come in one command: the owner does nothing else meanwhile."""


class RegisterService(Command, frozen=True, tag=True):
    """Add a service, or replace the one of this name wholly, which keeps its place. Result: `ServiceView`.

    Attributes:
        timestamp: When it was registered, as its sender says it; None for now.
    """

    name: ServiceName
    host: ServiceText
    port: ServicePort
    hostname: ServiceText
    url: ServiceText
    status: ServiceText
    metadata: dict[str, Any] = msgspec.field(default_factory=dict)
    timestamp: ServiceText | None = None


class UpdateService(Command, frozen=True, tag=True, omit_defaults=True):
    """Change what is given; it is a heartbeat in any case. Result: `ServiceView`."""

    name: ServiceName
    host: ServiceText | UnsetType = UNSET
    port: ServicePort | UnsetType = UNSET
    hostname: ServiceText | UnsetType = UNSET
    url: ServiceText | UnsetType = UNSET
    status: ServiceText | UnsetType = UNSET
    metadata: dict[str, Any] | UnsetType = UNSET


class Heartbeat(Command, frozen=True, tag=True):
    """The service is alive. Result: None.

    Attributes:
        name: The service.
        status: Its status from now on; None if it stays.
    """

    name: ServiceName
    status: ServiceText | None = None


class Heartbeats(Command, frozen=True, tag=True):
    """Several services are alive, and that is all that is new of them. Result: the names that need one of their own.

    Nothing is done for these: there is no service of this name, or the heartbeat makes it healthy again.
    """

    names: Annotated[list[ServiceName], Meta(max_length=MAX_HEARTBEATS)]


class RemoveService(Command, frozen=True, tag=True):
    """Result: None."""

    name: ServiceName


class GetService(Command, frozen=True, tag=True):
    """Result: `ServiceView`."""

    name: ServiceName


class CheckService(Command, frozen=True, tag=True):
    """Probe a service now; waits for what the health checker finds. Result: `ServiceView`, as it is then.

    A healthy one is alive, as after a heartbeat.
    """

    name: ServiceName
