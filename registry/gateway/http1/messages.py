"""A request as the rest of the gateway sees it."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any

Fields = list[tuple[bytes, bytes]]
"""Header fields in order, names in lower case (they mean the same in any case, RFC 9110 section 5.1)."""


class Request:
    """One whole request: the body was read before anybody is asked to answer.

    Nobody changes it but for its note: the next one that says the same may be the very same object.

    Attributes:
        method: As sent, for example `b"POST"`.
        target: Path and query as sent, without scheme and host even if the client named them.
        path: The target up to the question mark, still percent-encoded.
        headers: Header fields; trailers of a chunked body are not among them.
        body: The content without any chunk framing.
        http_1_0: Whether the client speaks HTTP/1.0 and therefore knows no chunks.
        keep_alive: Whether the client is ready to send another request on this connection.
    """

    __slots__ = ("_first", "_like", "_note", "body", "headers", "http_1_0", "keep_alive", "method", "path", "target")

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
        self._first = dict(reversed(headers))
        self.body = body
        self.http_1_0 = http_1_0
        self.keep_alive = keep_alive
        self._note: Any = None
        self._like: Request | None = None

    def header(self, name: bytes) -> bytes | None:
        """Return the first value of a header field.

        Args:
            name: In lower case.
        """
        return self._first.get(name)

    @property
    def note(self) -> Any:
        """Whatever the application has found out from the head, and need not find out again when it comes again."""
        return self._note if self._like is None else self._like.note

    @note.setter
    def note(self, note: Any) -> None:
        if self._like is None:
            self._note = note
        else:
            self._like.note = note

    def without_body(self) -> Request:
        """The head alone."""
        head = self.with_body(b"")
        head._like = None  # noqa: SLF001 - of the same class
        return head

    def with_body(self, body: bytes) -> Request:
        """Another request with the same head."""
        request = Request.__new__(Request)
        request.method = self.method
        request.target = self.target
        request.path = self.path
        request.headers = self.headers
        request._first = self._first  # noqa: SLF001 - of the same class
        request.body = body
        request.http_1_0 = self.http_1_0
        request.keep_alive = self.keep_alive
        request._note = None  # noqa: SLF001 - of the same class
        request._like = self if self._like is None else self._like  # noqa: SLF001 - of the same class
        return request


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
