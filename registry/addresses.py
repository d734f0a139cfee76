"""Which addresses this server may connect to.

Anybody who can add a backend or a service names an address that is then probed and sent requests. Without rules that
would be a way to reach whatever this machine reaches; link-local addresses above all, where cloud machines give out
their credentials.
"""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from urllib.parse import urlsplit

import msgspec

from registry.urls import DEFAULT_PORTS, normal_host

LOCAL_NETWORKS = ("127.0.0.0/8", "::1/128", "10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "fc00::/7")
"""Loopback, and the networks that are private."""

_LOOPBACK: dict[IPv4Address | IPv6Address, IPv4Address | IPv6Address] = {
    IPv4Address("0.0.0.0"): IPv4Address("127.0.0.1"),  # noqa: S104 - connecting there reaches this machine
    IPv6Address("::"): IPv6Address("::1"),
}
_METADATA = frozenset(map(ip_address, ("fd00:ec2::254", "fd20:ce::254", "fd00:c1::a9fe:a9fe", "100.100.100.200")))
"""Where clouds (AWS, Google, Oracle, Alibaba) give out credentials besides 169.254.169.254; some count as private."""


class AddressSettings(msgspec.Struct, frozen=True):
    """Where connections may go.

    Attributes:
        networks: Networks in the form 10.0.0.0/8.
        exempt: Base URLs that the operator named; their hosts may be elsewhere.
    """

    networks: list[str] = msgspec.field(default_factory=lambda: list(LOCAL_NETWORKS))
    exempt: list[str] = msgspec.field(default_factory=list)


class AddressRules:
    """Judges the addresses that a host's name stands for, right before one of them is connected to.

    Args:
        networks: Where connections may go; but never to a link-local address or one where a cloud gives
            out credentials, even if it is within one.
        exempt: Hosts and ports of servers that the operator named, which may be anywhere.
    """

    def __init__(self, networks: Iterable[IPv4Network | IPv6Network], exempt: Iterable[tuple[str, int]]) -> None:
        self._networks = tuple(networks)
        self._exempt = frozenset((normal_host(host), port) for host, port in exempt)

    @classmethod
    def of(cls, settings: AddressSettings) -> AddressRules:
        """The rules that settings stand for.

        Raises:
            ValueError: A network or a URL is none.
        """
        return cls(map(ip_network, settings.networks), map(_host_and_port, settings.exempt))

    def check(self, address: str, host: str, port: int) -> str | None:
        """Why an address must not be connected to; None if it may.

        Args:
            address: The IP address that will be connected to.
            host: The name or address that it was found by.
            port: The TCP port.

        >>> rules = AddressRules.of(AddressSettings())
        >>> rules.check("10.1.2.3", "gpu-1", 8000)
        >>> rules.check("8.8.8.8", "dns.example", 443)
        '8.8.8.8 is in none of the allowed networks'
        """
        try:
            judged = _judged(address)
        except ValueError:
            return f"{address!r:.100} is no IP address"
        named = (normal_host(host), port) in self._exempt
        if judged.is_link_local or judged in _METADATA:
            # The operator may mean such an address, but not a name that leads there: names are others' to change.
            if named and normal_host(host) == normal_host(address):
                return None
            kind = "a link-local address" if judged.is_link_local else "a cloud's address for its machines' credentials"
            return f"{judged} is {kind}, which is never connected to"
        if named or any(judged in network for network in self._networks):
            return None
        return f"{judged} is in none of the allowed networks"


def _judged(address: str) -> IPv4Address | IPv6Address:
    """The address that a connection really leads to; raises ValueError."""
    parsed = ip_address(address)
    mapped = parsed.ipv4_mapped if isinstance(parsed, IPv6Address) else None
    reached = parsed if mapped is None else mapped
    return _LOOPBACK.get(reached, reached)


def _host_and_port(url: str) -> tuple[str, int]:
    parts = urlsplit(url)
    if not parts.hostname or parts.scheme not in DEFAULT_PORTS:
        raise ValueError(f"{url!r} is no http or https URL of a server")
    return parts.hostname, parts.port or DEFAULT_PORTS[parts.scheme]
