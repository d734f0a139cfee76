"""New connections to upstream servers, to allowed addresses only."""

from __future__ import annotations

import asyncio
import os
import socket
import ssl
from collections.abc import Callable
from typing import TypeVar

from registry.addresses import AddressRules
from registry.gateway.http1.endpoint import Endpoint
from registry.gateway.http1.resolver import Resolver
from registry.gateway.http1.upstream_errors import AddressForbidden, ConnectFailed

ProtocolT = TypeVar("ProtocolT", bound=asyncio.BaseProtocol)


class Connector:
    """Opens connections.

    A name is looked up once for a connection, and what is judged is the very address that is connected to: whoever
    owns the name cannot give another one in between.

    Must be made within a running event loop.

    Args:
        rules: Which addresses may be connected to.
    """

    def __init__(self, rules: AddressRules) -> None:
        self._rules = rules
        self._loop = asyncio.get_running_loop()
        self._resolver = Resolver()
        self._tls: ssl.SSLContext | None = None

    async def connect(self, endpoint: Endpoint, protocol: Callable[[], ProtocolT]) -> ProtocolT:
        """Open a connection to the first of a host's allowed addresses that accepts it.

        Args:
            endpoint: Where the server is.
            protocol: Makes what takes its bytes.

        Raises:
            AddressForbidden: None of its addresses may be connected to.
            ConnectFailed: None of them could be.
        """
        try:
            addresses = await self._resolver.addresses(endpoint.host)
        except (OSError, ValueError):
            raise ConnectFailed(endpoint, "there is no such host") from None
        forbidden = failed = ""
        for address in addresses:
            reason = self._rules.check(address, endpoint.host, endpoint.port)
            if reason is not None:
                forbidden = reason
                continue
            try:
                return await self._open(endpoint, address, protocol)
            except OSError as error:
                failed = failed or _said(error)
        if failed:
            raise ConnectFailed(endpoint, failed)
        raise AddressForbidden(endpoint, forbidden or "it has no address")

    async def _open(self, endpoint: Endpoint, address: str, protocol: Callable[[], ProtocolT]) -> ProtocolT:
        if not endpoint.tls:
            return (await self._loop.create_connection(protocol, address, endpoint.port))[1]
        if self._tls is None:
            self._tls = ssl.create_default_context()
        # The certificate is that of the name, not of the address.
        return (
            await self._loop.create_connection(
                protocol, address, endpoint.port, ssl=self._tls, server_hostname=endpoint.host
            )
        )[1]


def _said(error: OSError) -> str:
    """What the operating system or TLS said, without what the event loop made of it.

    >>> _said(ConnectionRefusedError(111, "Connect call failed ('127.0.0.1', 9)"))
    'connection refused'
    """
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate is not accepted ({error.verify_message})"
    if isinstance(error, ssl.SSLError):
        return f"no agreement on TLS ({error.reason or 'it may not speak TLS at all'})"
    if error.errno and error.errno > 0 and not isinstance(error, socket.gaierror):
        said = os.strerror(error.errno)
        return said[:1].lower() + said[1:]
    return str(error) or type(error).__name__
