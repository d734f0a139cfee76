"""What can go wrong with an upstream server.

UpstreamError
├── Unreachable           no connection, so nothing was sent
│   ├── ConnectFailed     refused, no route, no such name, TLS failure
│   ├── ConnectTimeout    no connection in time
│   └── AddressForbidden  it is where this server may not connect to
├── AnswerTimeout         connected, but nothing came for too long
└── AnswerBroken          the connection was lost, or what came is not HTTP
"""

from __future__ import annotations

from registry.gateway.http1.endpoint import Endpoint


class UpstreamError(Exception):
    """Base of what can go wrong with an upstream server."""


class Unreachable(UpstreamError):
    """There is no connection, so nothing was sent: another server can be tried without any risk.

    Args:
        endpoint: Where the server should be; None if its URL does not say.
        reason: Why there is no connection.

    Attributes:
        reason: Why there is no connection.
    """

    def __init__(self, endpoint: Endpoint | None, reason: str) -> None:
        where = "" if endpoint is None else f" to {endpoint.host}:{endpoint.port}"
        super().__init__(f"no connection{where}: {reason}")
        self.reason = reason


class ConnectFailed(Unreachable):
    """The connection was refused, or there is no route, no such name or no agreement on TLS."""


class ConnectTimeout(Unreachable):
    """The connection took too long."""


class AddressForbidden(Unreachable):
    """The server has no address that this one may connect to; see `registry.addresses`."""


class AnswerTimeout(UpstreamError):
    """The server is connected but silent: no head in time, or a pause within the body that is too long."""


class AnswerBroken(UpstreamError):
    """The connection was lost before the answer was whole, or the answer is not HTTP.

    Args:
        reason: What happened.
        begun: Whether any byte of the answer had come.
    """

    def __init__(self, reason: str, *, begun: bool) -> None:
        super().__init__(reason)
        self.begun = begun
