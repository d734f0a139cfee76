"""What a gateway is told at its start."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from registry.addresses import AddressSettings
from registry.gateway.http1.limits import ServerLimits, UpstreamLimits
from registry.logs import LogSettings


class GatewaySettings(msgspec.Struct, frozen=True, kw_only=True):
    """What a gateway is told at its start; nothing of it changes afterwards.

    Attributes:
        name: Which of the gateways this is, for example `gateway-1`; part of every answer.
        pseudonym: By which all gateways of this server know a request that comes back; see `registry.gateway.trail`.
        loopback: Whether the listening socket can be reached from this machine only.
        api_keys: The key of each backend that needs one, by the backend's URL.
        forward_authorization: Whether a backend without a key is sent the client's `Authorization`.
        admin_key: The key that every change over the control plane needs, if there is one.
        open_services: Whether changes to `/services` need no key even if there is one.
        addresses: Where backends may be.
        allowed_hosts: Host names by which this server may be called, besides localhost and IP addresses.
        allowed_origins: Foreign web pages that may write, for example `https://chat.example`.
        server: What clients may take.
        upstream: How long backends may take.
        max_buffered_bytes: The longest answer that is read whole before any of it is sent, so that a break
            gives a clean error.
        queue_timeout_s: How long a request waits in the owner's line while all backends are busy; 0 for not at all.
        tick_s: How precisely time-outs are kept.
    """

    name: str
    loopback: bool
    pseudonym: str = "actor-registry"
    api_keys: Mapping[str, str] = msgspec.field(default_factory=dict)
    forward_authorization: bool = False
    admin_key: str | None = None
    open_services: bool = False
    addresses: AddressSettings = AddressSettings()
    allowed_hosts: frozenset[str] = frozenset()
    allowed_origins: frozenset[str] = frozenset()
    server: ServerLimits = ServerLimits()
    upstream: UpstreamLimits = UpstreamLimits()
    max_buffered_bytes: int = 16 * 1024 * 1024
    queue_timeout_s: float = 30.0
    tick_s: float = 0.5

    def __repr__(self) -> str:
        # Keys must not reach a log by way of a traceback or a debug line.
        return f"GatewaySettings(name={self.name!r}, loopback={self.loopback}, api_keys=<{len(self.api_keys)}>)"


class GatewayStart(msgspec.Struct, frozen=True):
    """The payload of a gateway process; it also carries the listening socket.

    Attributes:
        settings: What the gateway is told.
        logs: How it logs.
        drain_s: How long streams may go on after it was told to stop, in seconds.
    """

    settings: GatewaySettings
    logs: LogSettings
    drain_s: float
