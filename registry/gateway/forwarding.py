"""Header fields on their way through the gateway."""

from __future__ import annotations

import functools
from urllib.parse import quote

from registry.gateway.http1.endpoint import UpstreamUrl
from registry.gateway.http1.messages import Fields, Request
from registry.gateway.trail import Trail

# RFC 9110 section 7.6.1, and what older programs still send: these speak of one connection, not of the
# message.
HOP_BY_HOP = frozenset({
    b"connection", b"keep-alive", b"proxy-authenticate", b"proxy-authorization", b"proxy-connection", b"te",
    b"trailer", b"transfer-encoding", b"upgrade", b"http2-settings",
})  # fmt: skip
# The gateway writes these anew. `Expect` was answered when the body was read.
NOT_SENT_UP = HOP_BY_HOP | {b"host", b"content-length", b"expect", b"x-request-id"}
NOT_SENT_DOWN = HOP_BY_HOP | {b"content-length", b"x-request-id", b"x-registry-backend", b"x-registry-gateway"}


class Destination:
    """A backend as requests are written to it; made once for many requests.

    Args:
        url: The backend's URL.
        api_key: Sent instead of the client's own authorization.
        forward_authorization: Whether the client's own is passed on where there is no key.
        trail: The sign of this server on each request.

    Raises:
        ValueError: The URL is not one.
    """

    __slots__ = ("_authorization", "_base_path", "_dropped", "_host_line", "_trail", "endpoint")

    def __init__(self, url: str, api_key: str | None, *, forward_authorization: bool, trail: Trail) -> None:
        upstream = UpstreamUrl.parse(url)
        self.endpoint = upstream.endpoint
        # An OpenAI client's base URL ends in /v1, a server's own does not; the request's path brings it
        # along.
        self._base_path = upstream.base_path.removesuffix(b"/v1")
        self._host_line = b" HTTP/1.1\r\nhost: %b\r\n" % upstream.host_field
        self._authorization = b"" if api_key is None else b"authorization: Bearer %b\r\n" % api_key.encode("ascii")
        self._trail = trail.line
        passed_on = forward_authorization and api_key is None
        self._dropped = NOT_SENT_UP if passed_on else NOT_SENT_UP | {b"authorization"}

    def head(self, request: Request, request_id: bytes) -> bytes:
        """Write the head of a request to the backend.

        Args:
            request: What the client sent; its body follows unchanged.
            request_id: Sent as `X-Request-Id`.
        """
        parts = [request.method, b" ", self._base_path, request.target, self._host_line, self._authorization]
        for name, value in end_to_end(request.headers, self._dropped):
            parts += (name, b": ", value, b"\r\n")
        # After the Via of those that it has passed before.
        parts.append(self._trail)
        parts.append(b"x-request-id: %b\r\ncontent-length: %d\r\n\r\n" % (request_id, len(request.body)))
        return b"".join(parts)


def end_to_end(headers: Fields, dropped: frozenset[bytes]) -> Fields:
    """Leave out what must not be passed on.

    Args:
        headers: Names in lower case.
        dropped: Names to leave out, and with them those which a Connection field lists.
    """
    for name, value in headers:
        if name == b"connection" and value not in {b"keep-alive", b"close"}:
            dropped |= {token.strip().lower() for token in value.split(b",")}
    return [field for field in headers if field[0] not in dropped]


@functools.lru_cache(maxsize=1024)
def field_value(text: str) -> bytes:
    r"""Write any text as the value of a header field.

    Args:
        text: Visible ASCII stays as it is; everything else, line ends above all, is percent-encoded.

    Example:
        >>> field_value("gpu-1"), field_value("evil\r\nset-cookie: a")
        (b'gpu-1', b'evil%0D%0Aset-cookie:%20a')
    """
    return quote(text, safe="!\"#$&'()*+,/:;<=>?@[\\]^`{|}").encode("ascii")
