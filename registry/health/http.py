"""Requests to one server, with one deadline for all of them and a limit on what it may send.

By the gateway's own HTTP/1.1: there it is held to the same rules, and it costs the least of what was measured.
"""

from __future__ import annotations

import asyncio
import time
from types import TracebackType
from typing import NamedTuple, Self
from urllib.parse import quote, urlsplit

from registry.gateway.http1.connector import Connector
from registry.gateway.http1.deadlines import NEVER, Deadlines
from registry.gateway.http1.endpoint import Endpoint, UpstreamUrl
from registry.gateway.http1.limits import UpstreamLimits
from registry.gateway.http1.messages import Fields
from registry.gateway.http1.upstream import UpstreamConnection
from registry.gateway.http1.upstream_errors import AnswerBroken, Unreachable, UpstreamError
from registry.gateway.trail import Trail

MAX_BODY_BYTES = 4 * 1024 * 1024

# The one deadline that counts is that of the whole conversation.
_LIMITS = UpstreamLimits(first_byte_timeout_s=NEVER, stalled_timeout_s=NEVER, idle_timeout_s=NEVER)
_AGENT = b"actor-registry"


class NoAnswer(Exception):
    """A server did not answer, or not in a way that can be read; says why in one sentence."""


class Answer(NamedTuple):
    """A whole answer.

    Attributes:
        request: What it answers, such as `GET /v1/models`.
        status: Its status.
        headers: Its header fields, with names in lower case.
        body: Its content.
    """

    request: str
    status: int
    headers: Fields
    body: bytes


class Place(NamedTuple):
    """Where a server is.

    Attributes:
        endpoint: Where to connect to.
        host_field: The value of the Host header.
        path: What is put before the path of each request, or the whole of it.
    """

    endpoint: Endpoint
    host_field: bytes
    path: bytes

    @classmethod
    def of_backend(cls, url: str) -> Place:
        """The place that a backend's base address names, with or without the `/v1` of its API.

        Raises:
            NoAnswer: It names none.
        """
        try:
            endpoint, host_field, path = UpstreamUrl.parse(url)
        except ValueError as error:
            raise NoAnswer(f"its URL cannot be used: {error}") from None
        return cls(endpoint, host_field, path.removesuffix(b"/v1"))

    @classmethod
    def of_page(cls, url: str) -> Place:
        """The place of one page, whose address may have any path and query.

        Raises:
            NoAnswer: It is no address of a page.
        """
        try:
            parts = urlsplit(url)
            endpoint, host_field, _ = UpstreamUrl.parse(f"{parts.scheme}://{parts.netloc}")
        except ValueError as error:
            raise NoAnswer(f"its URL cannot be used: {error}") from None
        query = f"?{parts.query}" if parts.query else ""
        path = quote(f"{parts.path or '/'}{query}", safe="!$&'()*+,/:;=?@%~")
        return cls(endpoint, host_field, path.encode("ascii"))


class Conversation:
    """Some requests to one server; to be entered, and over at the end of the block.

    Args:
        connector: Opens the connections.
        deadlines: The process's timer.
        place: Where the server is.
        fields: Header fields of every request that carry a key.
        trail: The sign of this server on each request, by which it knows itself.
        timeout_s: How long everything may take together, in seconds.

    Attributes:
        has_key: Whether the requests carry a key.
        origin: The server's host and port.
        latency_ms: How long the first answer took; None before.
    """

    def __init__(
        self,
        connector: Connector,
        deadlines: Deadlines,
        place: Place,
        fields: Fields,
        *,
        trail: Trail,
        timeout_s: float,
    ) -> None:
        self._connector = connector
        self._deadlines = deadlines
        self._place = place
        self._fields = trail.line + b"".join(b"%b: %b\r\n" % field for field in fields)
        self._timeout_s = timeout_s
        self._deadline = asyncio.get_running_loop().time() + timeout_s
        self._idle: list[UpstreamConnection] = []
        self.has_key = bool(fields)
        self.origin = f"{place.endpoint.host}:{place.endpoint.port}"
        self.latency_ms: int | None = None

    @property
    def is_over(self) -> bool:
        """Whether the time for all requests together is over."""
        return asyncio.get_running_loop().time() >= self._deadline

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for connection in list(self._idle):
            connection.abort()

    async def get(self, path: str) -> Answer:
        """The answer to a GET.

        Args:
            path: The path and query, in ASCII.

        Raises:
            NoAnswer: There was none that could be read whole.
        """
        return await self._ask(b"GET", path, b"", read_body=True)

    async def get_status(self) -> int:
        """The status of the very page that the place names; what it contains is not read.

        Raises:
            NoAnswer: There was none.
        """
        return (await self._ask(b"GET", "", b"", read_body=False)).status

    async def post(self, path: str, content: bytes) -> Answer:
        """The answer to a POST of some JSON.

        Args:
            path: The path and query, in ASCII.
            content: The JSON.

        Raises:
            NoAnswer: There was none that could be read whole.
        """
        return await self._ask(b"POST", path, content, read_body=True)

    async def _ask(self, method: bytes, path: str, content: bytes, *, read_body: bool) -> Answer:
        begun_s = time.monotonic()
        request = f"{method.decode()} {path or 'its health page'}"
        try:
            async with asyncio.timeout_at(self._deadline):
                connection = await self._send(method, path.encode("ascii"), content)
                try:
                    body = await connection.body(MAX_BODY_BYTES) if read_body else b""
                    if body is None:
                        raise NoAnswer(f"{request} answered {_size(connection.content_length)} of something")
                    answer = Answer(request, connection.status, connection.headers, body)
                finally:
                    self._give_back(connection)
        except TimeoutError:
            raise NoAnswer(f"no answer within {self._timeout_s:g} s") from None
        except Unreachable as error:
            raise NoAnswer(error.reason) from None
        except UpstreamError as error:
            raise NoAnswer(f"{request}: {error}") from None
        if self.latency_ms is None:
            self.latency_ms = round((time.monotonic() - begun_s) * 1000)
        return answer

    async def _send(self, method: bytes, path: bytes, content: bytes) -> UpstreamConnection:
        """A connection on which the head of the answer is there."""
        head = b"%b %b%b HTTP/1.1\r\nhost: %b\r\nuser-agent: %b\r\naccept: */*\r\n%b" % (
            method,
            self._place.path,
            path,
            self._place.host_field,
            _AGENT,
            self._fields,
        )
        if content:
            head += b"content-type: application/json\r\ncontent-length: %d\r\n" % len(content)
        head += b"\r\n"
        if self._idle:
            try:
                return await self._idle.pop().exchange(head, content)
            except AnswerBroken as error:
                if error.begun:
                    raise
        connection = await self._connector.connect(
            self._place.endpoint, lambda: UpstreamConnection(_LIMITS, self._deadlines, self._drop)
        )
        return await connection.exchange(head, content)

    def _give_back(self, connection: UpstreamConnection) -> None:
        if connection.reusable:
            connection.rest(asyncio.get_running_loop().time())
            self._idle.append(connection)
        else:
            connection.abort()

    def _drop(self, connection: UpstreamConnection) -> None:
        if connection in self._idle:
            self._idle.remove(connection)


def _size(content_length: int | None) -> str:
    """How much a server sends, as far as it says so.

    >>> _size(12_345_678), _size(None)
    ('12 MB', 'more than 4 MB')
    """
    if content_length is None:
        return f"more than {MAX_BODY_BYTES // 1_000_000} MB"
    return f"{content_length / 1_000_000:,.0f} MB"
