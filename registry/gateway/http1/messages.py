"""A request as the rest of the gateway sees it."""

from __future__ import annotations

from http import HTTPStatus

Fields = list[tuple[bytes, bytes]]
"""Header fields in order, names in lower case (they mean the same in any case, RFC 9110 section 5.1)."""


class Request:
    """One whole request: the body was read before anybody is asked to answer.

    Attributes:
        method: As sent, for example `b"POST"`.
        target: Path and query as sent, without scheme and host even if the client named them.
        path: The target up to the question mark, still percent-encoded.
        headers: Header fields; trailers of a chunked body are not among them.
        body: The content without any chunk framing.
        http_1_0: Whether the client speaks HTTP/1.0 and therefore knows no chunks.
        keep_alive: Whether the client is ready to send another request on this connection.
    """

    __slots__ = ("body", "headers", "http_1_0", "keep_alive", "method", "path", "target")

    def __init__(
        self,
        *,
        method: bytes,
        target: bytes,
        headers: Fields,
        body: bytes = b"",
        http_1_0: bool = False,
        keep_alive: bool = True,
    ) -> None:
        self.method = method
        self.target = target
        self.path = target.partition(b"?")[0]
        self.headers = headers
        self.body = body
        self.http_1_0 = http_1_0
        self.keep_alive = keep_alive

    def header(self, name: bytes) -> bytes | None:
        """Return the first value of a header field.

        Args:
            name: In lower case.
        """
        for field, value in self.headers:
            if field == name:
                return value
        return None


class Refusal(Exception):
    """A request that is answered without being handled, after which the connection is closed.

    Args:
        status: The HTTP status: 400, 408, 413 or 431; 500 for a fault of ours.
        reason: One sentence for the client.
        path: What was asked for, still percent-encoded; empty if that is not known.
    """

    def __init__(self, status: HTTPStatus, reason: str, path: bytes = b"") -> None:
        super().__init__(reason)
        self.status = status
        self.reason = reason
        self.path = path
