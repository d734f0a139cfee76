"""Where an upstream server is, as read from its URL."""

from __future__ import annotations

from typing import NamedTuple
from urllib.parse import urlsplit

from registry.urls import DEFAULT_PORTS


class Endpoint(NamedTuple):
    """Where to connect to.

    Attributes:
        host: Name or address, an IPv6 address without brackets.
        port: TCP port.
        tls: Whether to speak TLS.
    """

    host: str
    port: int
    tls: bool


class UpstreamUrl(NamedTuple):
    """The URL of an upstream server, taken apart once and used for every request.

    Attributes:
        endpoint: Where to connect to.
        host_field: The value of the Host header.
        base_path: What is put before the path of each request; empty or starting with a slash.
    """

    endpoint: Endpoint
    host_field: bytes
    base_path: bytes

    @classmethod
    def parse(cls, url: str) -> UpstreamUrl:
        """Take a URL apart.

        Args:
            url: `http://` or `https://`, optionally with a port and a path.

        Raises:
            ValueError: It is no such URL, or holds a user name: credentials in a URL end up in logs.

        Example:
            >>> UpstreamUrl.parse("https://[::1]/llm/").endpoint
            Endpoint(host='::1', port=443, tls=True)
        """
        parts = urlsplit(url)
        if parts.scheme not in DEFAULT_PORTS or not parts.hostname:
            raise ValueError(f"{url!r} is not an http or https URL of a server")
        if "@" in parts.netloc:
            raise ValueError(f"the URL of {parts.hostname} holds a user name or password; use api_key instead")
        port = parts.port or DEFAULT_PORTS[parts.scheme]
        return cls(
            Endpoint(parts.hostname, port, parts.scheme == "https"),
            parts.netloc.encode("idna" if not parts.netloc.isascii() else "ascii"),
            parts.path.rstrip("/").encode("ascii"),
        )
