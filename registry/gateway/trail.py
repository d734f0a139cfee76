"""Requests that come back: a backend may be this very server, under another name or by way of another one.

Without a sign on them they would go round until connections run out, and the probe of such a backend would find the
models that are there because of it. The sign is a `Via` field (RFC 9110 section 7.6.3).
"""

from __future__ import annotations

import secrets

from registry.gateway.http1.messages import Fields


def new_pseudonym() -> str:
    """A name for all gateways and the health checker of one server, which no other server has."""
    return f"actor-registry-{secrets.token_hex(8)}"


class Trail:
    """The sign of one server.

    Args:
        pseudonym: The server's.

    Attributes:
        line: The header line of each request that it sends.
    """

    __slots__ = ("_name", "line")

    def __init__(self, pseudonym: str) -> None:
        self._name = pseudonym.encode("ascii")
        self.line = b"via: 1.1 %b\r\n" % self._name

    def leads_back(self, fields: Fields) -> bool:
        """Whether a request with these fields has been here before.

        >>> Trail("a").leads_back([(b"via", b"1.0 proxy.example"), (b"via", b"1.1 a, 1.1 b")])
        True
        """
        passed = b" ".join([value for name, value in fields if name == b"via"])
        return self._name in passed.replace(b",", b" ").split()
