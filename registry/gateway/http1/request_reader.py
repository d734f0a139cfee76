"""Bytes of a client to whole requests."""

from __future__ import annotations

from collections.abc import Callable
from http import HTTPStatus

import httptools

from registry.gateway.http1.heads import Heads
from registry.gateway.http1.limits import ServerLimits
from registry.gateway.http1.messages import Fields, Refusal, Request

# What a field costs beyond its name and value: the colon, a space and the line end.
FIELD_OVERHEAD_BYTES = 4


class RequestReader:
    """Parses one connection's requests, one after the other, within limits.

    The methods that start with `on_` are for httptools.

    Args:
        limits: What a client may send.
        deliver: Called with each whole request, in order, from within `feed`.
        heads: What other connections have sent before.

    Attributes:
        in_request: Whether a request has begun and is not whole yet.
        wants_continue: Whether the client waits for `100 Continue` before it sends the body.
        finished: Whether the client said that no further request will follow.
    """

    __slots__ = (
        "_body", "_body_bytes", "_deliver", "_expects", "_framing_bytes", "_head_bytes", "_headers", "_heads",
        "_in_head", "_latest", "_limits", "_number", "_parser", "_refusal", "_target", "finished", "in_request",
        "wants_continue",
    )  # fmt: skip

    def __init__(self, limits: ServerLimits, deliver: Callable[[Request], None], heads: Heads | None = None) -> None:
        self._limits = limits
        self._heads = heads or Heads()
        self._deliver = deliver
        self._parser = httptools.HttpRequestParser(self)
        self._refusal: Refusal | None = None
        self._latest: Request | None = None
        self._number = 0
        self.finished = False
        self.on_message_begin()
        self.in_request = False

    @property
    def path(self) -> bytes:
        """What the request that has begun asks for, still percent-encoded; empty while that is not known for sure."""
        # The target may come in pieces; it is whole when something has come after it.
        known = self.in_request and (self._headers or not self._in_head)
        return _without_authority(self._target).partition(b"?")[0] if known else b""

    def feed(self, data: bytes) -> None:
        """Take what has arrived.

        Args:
            data: Any piece of the connection's bytes; ignored once `finished`.

        Raises:
            Refusal: The client must be told why, and nothing more of it can be understood.
        """
        if self.finished:
            return
        at_rest = not self.in_request
        known = self._heads.recall(data) if at_rest else None
        if known is not None:
            self._deliver(known)
            return
        self._parse(data)
        request, self._latest = self._latest, None
        if at_rest and request is not None:
            self._heads.keep(data, request)

    def _parse(self, data: bytes) -> None:
        begun = self._number if self.in_request else 0
        in_body = 0 if self._in_head else begun
        body_before = self._body_bytes
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            self._ignore_upgrade(data[upgrade.args[0] :])
        except httptools.HttpParserError as error:
            if not self.finished:
                malformed = Refusal(HTTPStatus.BAD_REQUEST, f"Malformed request: {error}.", self.path)
                raise self._refusal or malformed from None
        if begun == self._number and self._in_head:
            # The parser holds an unfinished field back, so it must be counted here. The piece in which the
            # head begins may hold other requests too and is not counted: it is bounded by the size of a read.
            self._count_head(len(data))
        elif in_body == self._number and self.in_request:
            self._count_framing(len(data) - (self._body_bytes - body_before))

    def on_message_begin(self) -> None:
        """A request begins."""
        self._number += 1
        self._framing_bytes = 0
        self._target = b""
        self._headers: Fields = []
        self._body: list[bytes] = []
        self._head_bytes = 0
        self._body_bytes = 0
        self._in_head = True
        self._expects = False
        self.in_request = True
        self.wants_continue = False

    def on_url(self, url: bytes) -> None:
        """The target of the request line, or a part of it."""
        self._target += url

    def on_header(self, name: bytes, value: bytes) -> None:
        """A whole header field, or a trailer of a chunked body."""
        if self._in_head:
            self._headers.append((name.lower(), value))

    def on_headers_complete(self) -> None:
        """The head is whole. Refuse here what would be wrong whatever the body is."""
        self._in_head = False
        version = self._parser.get_http_version()
        if version not in {"1.1", "1.0"}:
            self._refuse(HTTPStatus.BAD_REQUEST, "Only HTTP/1.1 and HTTP/1.0 are spoken here.")
        hosts = 0
        self._head_bytes = len(self._target)
        for name, value in self._headers:
            self._head_bytes += len(name) + len(value) + FIELD_OVERHEAD_BYTES
            if name == b"host":
                hosts += 1
            elif name == b"content-length":
                self._check_body(int(value))
            elif name == b"expect":
                self._expects = value.lower() == b"100-continue"
        self._count_head(0)
        if hosts > 1 or (hosts == 0 and version == "1.1"):
            self._refuse(HTTPStatus.BAD_REQUEST, "A request must have exactly one Host header.")
        if self._parser.get_method() == b"CONNECT":
            self._refuse(HTTPStatus.BAD_REQUEST, "CONNECT is not offered here.")
        self.wants_continue = self._expects and version == "1.1"

    def on_body(self, chunk: bytes) -> None:
        """A part of the body."""
        self.wants_continue = False
        self._body_bytes += len(chunk)
        self._check_body(self._body_bytes)
        self._body.append(chunk)

    def on_message_complete(self) -> None:
        """The request is whole, unless its body was mistaken for another protocol."""
        if self._parser.should_upgrade():
            return
        self.in_request = False
        self.wants_continue = False
        keep_alive = self._parser.should_keep_alive()
        self.finished = not keep_alive
        body = self._body
        request = Request(
            method=self._parser.get_method(),
            target=_without_authority(self._target),
            headers=self._headers,
            body=body[0] if len(body) == 1 else b"".join(body),
            http_1_0=self._parser.get_http_version() == "1.0",
            keep_alive=keep_alive,
        )
        # An idle connection must not hold on to the largest body it ever saw.
        self._body = []
        self._latest = request
        self._deliver(request)

    def _ignore_upgrade(self, rest: bytes) -> None:
        """Read a request again without its offer of another protocol.

        An offer may be ignored, and Java's client makes one with every request; but httptools then takes the
        body for the other protocol's.
        """
        lines = [b"%b %b HTTP/1.1" % (self._parser.get_method(), self._target)]
        lines += [b"%b: %b" % field for field in self._headers if field[0] != b"upgrade"]
        self._parser = httptools.HttpRequestParser(self)
        self.feed(b"\r\n".join([*lines, b"", b""]) + rest)

    def _count_head(self, size: int) -> None:
        self._head_bytes += size
        if self._head_bytes > self._limits.max_head_bytes:
            limit = self._limits.max_head_bytes
            self._refuse(
                HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, f"The header fields are longer than {limit:,} bytes."
            )

    def _count_framing(self, size: int) -> None:
        """What comes with a body and is none of it: chunk sizes, their extensions, trailers."""
        self._framing_bytes += size
        if self._framing_bytes > self._limits.max_head_bytes + self._body_bytes:
            self._refuse(
                HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "The request has more chunk framing and trailers than body."
            )

    def _check_body(self, size: int) -> None:
        if size > self._limits.max_body_bytes:
            limit = self._limits.max_body_bytes
            self._refuse(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"The request body is longer than {limit:,} bytes.")

    def _refuse(self, status: HTTPStatus, reason: str) -> None:
        # httptools wraps what a callback raises, so the refusal is also left where `feed` finds it.
        self._refusal = Refusal(status, reason, _without_authority(self._target).partition(b"?")[0])
        raise self._refusal


def _without_authority(target: bytes) -> bytes:
    """The path and query of a target, which a client of a forward proxy sends with scheme and host before it."""
    if target.startswith(b"/") or b"://" not in target:
        return target
    _, slash, path = target.partition(b"://")[2].partition(b"/")
    return slash + path or b"/"
