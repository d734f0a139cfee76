"""Services: whoever has a name, an address and a heartbeat."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from msgspec import UNSET

from registry import commands as c
from registry.operations.calls import Call, all_checked, none, operation, reader
from registry.state.service_records import ServiceView

CHECK_TIMEOUT_S = 30.0
"""How long `check_service` waits unless told otherwise: longer than a probe may take."""

_view = reader(ServiceView)
_names = reader(list[str])


class ServiceOperations:
    """Operations on services."""

    @operation
    @staticmethod
    def register_service(
        name: str,
        *,
        host: str,
        port: int,
        hostname: str,
        url: str,
        status: str = "running",
        metadata: Mapping[str, Any] | None = None,
        timestamp: str | None = None,
    ) -> Call[ServiceView]:
        """Add a service, or replace the one of this name wholly; it keeps its place in lists.

        Args:
            name: Its name.
            host: Where it runs, as it says.
            port: Its TCP port.
            hostname: Where it runs, as it says.
            url: Its base address.
            status: Its own word; only `running` counts as healthy.
            metadata: Whatever else it says. One whose `type` is `openai-api` is a backend too, with its `models`.
            timestamp: When it was registered; now unless given.

        Raises:
            CommandInvalid: A value is out of its limits.
            InvalidField: The metadata is too long.
        """
        command = c.RegisterService(name, host, port, hostname, url, status, dict(metadata or {}), timestamp)
        return Call(command, _view)

    @operation
    @staticmethod
    def update_service(
        name: str,
        *,
        host: str | None = None,
        port: int | None = None,
        hostname: str | None = None,
        url: str | None = None,
        status: str | None = None,
        metadata: Mapping[str, Any] | None = None,
    ) -> Call[ServiceView]:
        """Change what is given; it is a heartbeat in any case.

        Args:
            name: The service.
            host: Where it runs from now on.
            port: Its port from now on.
            hostname: Where it runs from now on.
            url: Its base address from now on.
            status: Its status from now on.
            metadata: All of its metadata from now on.

        Raises:
            ServiceNotFound: There is none of this name.
            CommandInvalid: A value is out of its limits.
            InvalidField: The metadata is too long.
        """
        command = c.UpdateService(
            name,
            host=UNSET if host is None else host,
            port=UNSET if port is None else port,
            hostname=UNSET if hostname is None else hostname,
            url=UNSET if url is None else url,
            status=UNSET if status is None else status,
            metadata=UNSET if metadata is None else dict(metadata),
        )
        return Call(command, _view)

    @operation
    @staticmethod
    def heartbeat(name: str, status: str | None = None) -> Call[None]:
        """Say that a service is alive.

        Args:
            name: The service.
            status: Its status from now on; it stays unless given.

        Raises:
            ServiceNotFound: There is none of this name; it must be registered again.
        """
        return Call(c.Heartbeat(name, status), none)

    @operation
    @staticmethod
    def heartbeats(names: Sequence[str]) -> Call[list[str]]:
        """Say of several services that they are alive, for the price of one message.

        Args:
            names: At most 1,000.

        Returns:
            Those for which nothing was done, and which need a `heartbeat` of their own: there is none of this name, or
            it makes the service healthy again, which is a change by itself.
        """
        return Call(c.Heartbeats(list(all_checked("names", names, str))), _names)

    @operation
    @staticmethod
    def remove_service(name: str) -> Call[None]:
        """Remove a service. A backend that only it has named goes with it.

        Raises:
            ServiceNotFound: There is none of this name.
        """
        return Call(c.RemoveService(name), none)

    @operation
    @staticmethod
    def get_service(name: str) -> Call[ServiceView]:
        """One service.

        Raises:
            ServiceNotFound: There is none of this name.
        """
        return Call(c.GetService(name), _view, changes=False)

    @operation
    @staticmethod
    def check_service(name: str, *, timeout: float = CHECK_TIMEOUT_S) -> Call[ServiceView]:
        """Let the health checker probe a service now; a healthy one is alive, as after a heartbeat.

        Args:
            name: The service.
            timeout: Longest wait in seconds.

        Raises:
            ServiceNotFound: There is none of this name, or it was removed meanwhile.
            CallTimeout: Nothing was found out in time, as when no health checker runs.
        """
        return Call(c.CheckService(name), _view, timeout=timeout, changes=False)
