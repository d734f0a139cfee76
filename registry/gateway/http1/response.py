"""The answer to one request: whole, or head first and then the body as it comes."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Iterable
from email.utils import formatdate
from http import HTTPStatus
from typing import Protocol

STATUS_LINES = {status.value: b"HTTP/1.1 %d %b\r\n" % (status.value, status.phrase.encode()) for status in HTTPStatus}
BODYLESS = frozenset({204, 304})
COPIED_BYTES = 16 * 1024
"""A longer body is given to the connection as it is; a shorter one costs less when it is joined to its head."""


class Flow(Protocol):
    """A source of bytes that can be told to wait."""

    def pause(self) -> None:
        """Produce nothing until `resume`; may be called twice."""

    def resume(self) -> None:
        """Produce again; may be called without a `pause` before."""


class Sink(Protocol):
    """Where the bytes go: a client's connection."""

    def write(self, data: bytes) -> None:
        """Send `data`, or keep it until the client reads."""

    def abort(self) -> None:
        """Cut the client off, so that it cannot take a broken answer for a whole one."""

    def govern(self, flow: Flow) -> None:
        """Pause `flow` whenever the client reads too slowly."""

    async def writable(self) -> None:
        """Wait until the client has read enough of what was written."""


class Response:
    """Answers one request, exactly once.

    Args:
        sink: The client's connection.
        head_only: The request was a HEAD: no body is sent, whatever is given.
        http_1_0: The client knows no chunks, so a body of unknown length ends with the connection.
        keep_alive: Whether the connection may stay open after this answer.

    Attributes:
        fields: Rendered header lines that every answer to this request carries, whoever gives it.
        status: What was answered; 0 until then.
        started: Whether the head has been sent.
        complete: Whether the whole answer has been sent.
        keep_alive: Whether the connection stays open after this answer.
        on_complete: Called by `send` once the whole answer has been sent, if anything shall be.
    """

    __slots__ = (
        "_chunked", "_head_only", "_http_1_0", "_sink", "complete", "fields", "keep_alive", "on_complete", "started",
        "status",
    )  # fmt: skip

    def __init__(self, sink: Sink, *, head_only: bool, http_1_0: bool, keep_alive: bool) -> None:
        self._sink = sink
        self._head_only = head_only
        self._http_1_0 = http_1_0
        self._chunked = False
        self.fields = b""
        self.keep_alive = keep_alive
        self.status = 0
        self.started = False
        self.complete = False
        self.on_complete: Callable[[], None] | None = None

    def send(self, status: int, headers: Iterable[tuple[bytes, bytes]], body: bytes = b"") -> None:
        """Send the whole answer.

        Args:
            status: The HTTP status.
            headers: Without Content-Length, Transfer-Encoding and Connection: these are set here.
            body: The content.
        """
        length = b"" if status in BODYLESS else b"content-length: %d\r\n" % len(body)
        head = self._head(status, headers, length)
        self.complete = True
        if self._head_only or status in BODYLESS:
            self._sink.write(head)
        elif len(body) <= COPIED_BYTES:
            self._sink.write(head + body)
        else:
            self._sink.write(head)
            self._sink.write(body)
        if self.on_complete is not None:
            self.on_complete()

    def start(self, status: int, headers: Iterable[tuple[bytes, bytes]], *, length: int | None = None) -> None:
        """Send the head of an answer whose body comes in parts.

        Args:
            status: The HTTP status.
            headers: As for `send`.
            length: Size of the body in bytes if it is known.
        """
        if status in BODYLESS:
            framing = b""
            self._head_only = True
        elif length is not None:
            framing = b"content-length: %d\r\n" % length
        elif self._http_1_0:
            framing = b""
            self.keep_alive = False
        else:
            framing = b"transfer-encoding: chunked\r\n"
            self._chunked = not self._head_only
        self._sink.write(self._head(status, headers, framing))

    def write(self, data: bytes) -> None:
        """Send a part of the body. Nothing waits here: see `writable` and `govern`."""
        if data and not self._head_only:
            self._sink.write(b"%x\r\n%b\r\n" % (len(data), data) if self._chunked else data)

    def end(self) -> None:
        """End the body."""
        self.complete = True
        if self._chunked:
            self._sink.write(b"0\r\n\r\n")

    def abort(self) -> None:
        """Give up on an answer that has begun and cannot be finished: the connection is cut."""
        self.keep_alive = False
        self.complete = True
        self._sink.abort()

    def govern(self, flow: Flow) -> None:
        """Pause and resume `flow` as the client reads, until this answer is complete."""
        self._sink.govern(flow)

    async def writable(self) -> None:
        """Wait until the client has read enough of what was written."""
        await self._sink.writable()

    def _head(self, status: int, headers: Iterable[tuple[bytes, bytes]], framing: bytes) -> bytes:
        self.status = status
        self.started = True
        start, dated = _start(status, headers) if isinstance(headers, tuple) else _start_of(status, headers)
        date = b"" if dated else date_line(int(time.time()))
        connection = b""
        if not self.keep_alive:
            connection = b"connection: close\r\n"
        elif self._http_1_0:
            connection = b"connection: keep-alive\r\n"
        return b"%b%b%b%b%b\r\n" % (start, date, framing, self.fields, connection)


def _start_of(status: int, headers: Iterable[tuple[bytes, bytes]]) -> tuple[bytes, bool]:
    """The status line and these fields; and whether the date is among them."""
    lines = [STATUS_LINES.get(status) or b"HTTP/1.1 %d Unknown\r\n" % status]
    dated = False
    for name, value in headers:
        dated = dated or name == b"date"
        lines.append(b"%b: %b\r\n" % (name, value))
    return b"".join(lines), dated


_start = functools.lru_cache(maxsize=64)(_start_of)
"""The same, kept: who gives a tuple gives it often."""


@functools.lru_cache(maxsize=1)
def date_line(second: int) -> bytes:
    r"""Render the Date header; kept, because a second has thousands of answers.

    Args:
        second: Seconds since 1970.

    Example:
        >>> date_line(0)
        b'date: Thu, 01 Jan 1970 00:00:00 GMT\r\n'
    """
    return b"date: %b\r\n" % formatdate(second, usegmt=True).encode()
