"""One connection to an upstream server."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable
from http import HTTPStatus
from typing import Self, cast

import httptools

from registry.gateway.http1.deadlines import NEVER, Deadlines
from registry.gateway.http1.limits import UpstreamLimits
from registry.gateway.http1.messages import Fields
from registry.gateway.http1.upstream_errors import AnswerBroken, AnswerTimeout, UpstreamError

HIGH_WATER_BYTES = 256 * 1024


class UpstreamConnection(asyncio.Protocol):
    """Sends one request at a time and takes its answer: first the head, then the body, kept or passed on.

    The methods from `on_message_begin` on are for httptools.

    Args:
        limits: How long the server may take.
        deadlines: Calls `expire` when `deadline` has passed.
        on_idle_end: Called when the connection ends or misbehaves while nobody uses it.

    Attributes:
        deadline: When the server is given up on, on the event loop's clock.
        status: The status of the answer, once its head is there.
        headers: The header fields of the answer, once its head is there.
        content_length: Size of the body in bytes if the server named it.
        complete: Whether the whole answer is there.
    """

    def __init__(
        self,
        limits: UpstreamLimits,
        deadlines: Deadlines,
        on_idle_end: Callable[[UpstreamConnection], None],
    ) -> None:
        self._limits = limits
        self._deadlines = deadlines
        self._on_idle_end = on_idle_end
        self._loop = asyncio.get_running_loop()
        self._parser = httptools.HttpResponseParser(self)
        self._waiter: asyncio.Future[None] | None = None
        self._error: UpstreamError | None = None
        self._busy = False
        self._lost = False
        self._paused = False
        self.deadline = NEVER
        self._reset()

    def _reset(self) -> None:
        self._begun = False
        self._surplus = False
        self._head_bytes = 0
        self._framing_bytes = 0
        self._head_complete = False
        self._ends_with_connection = False
        self._keep_alive = False
        self._body: list[bytes] = []
        self._body_bytes = 0
        self._body_total = 0
        # Whoever waits is woken by more than this: at first by the head, later perhaps only by the end.
        self._wanted_bytes: float = -1
        self._sink: Callable[[bytes], None] | None = None
        self.status = 0
        self.headers: Fields = []
        self.content_length: int | None = None
        self.complete = False

    # What the user of the connection calls.

    @property
    def reusable(self) -> bool:
        """Whether another request can be sent: the answer is whole and the server keeps the connection."""
        return self.complete and self._keep_alive and not (self._lost or self._surplus) and self._error is None

    async def exchange(self, head: bytes, body: bytes) -> Self:
        """Send a request and wait for the head of its answer, which is then in `status` and `headers`.

        Args:
            head: Request line and header fields, up to and with the empty line.
            body: The content, of the length the head names.

        Raises:
            AnswerTimeout: The answer took too long.
            AnswerBroken: It will not come. The connection is closed, as after all that ends the wait.
        """
        self._reset()
        self._busy = True
        self.deadline = self._loop.time() + self._limits.first_byte_timeout_s
        if body:
            # One call, so that a small request leaves in one packet; a large body is not copied.
            self._transport.writelines([head, body])
        else:
            self._transport.write(head)
        try:
            while not self._head_complete:
                await self._progress()
        except BaseException:  # cancelled too: the client has left, and the server must not go on for nobody
            self.abort()
            raise
        return self

    async def body(self, max_bytes: int) -> bytes | None:
        """Wait for the whole body.

        Args:
            max_bytes: A longer body is not waited for; use `relay`, which also passes on what is there
                already.

        Returns:
            The body, or None if it is too long.

        Raises:
            AnswerTimeout: Nothing came for too long.
            AnswerBroken: The rest will not come.
        """
        self._wanted_bytes = max_bytes
        while not self.complete and self._body_bytes <= max_bytes:
            await self._progress()
        if self._body_bytes > max_bytes:
            return None
        return self._take_body()

    async def relay(self, sink: Callable[[bytes], None]) -> None:
        """Pass the body on as it comes, without waking anybody for each part.

        Args:
            sink: Takes each part; a reader that is too slow is helped by `pause` and `resume`.

        Raises:
            AnswerTimeout: Nothing came for too long.
            AnswerBroken: The rest will not come; what came before has been passed on.
        """
        if self._body:
            sink(self._take_body())
        self._sink = sink
        self._wanted_bytes = math.inf
        while not self.complete:
            await self._progress()

    def pause(self) -> None:
        """Take nothing more from the server until `resume`, so that it must wait."""
        if not self._paused and not self._lost:
            self._paused = True
            self.deadline = NEVER  # now it is us whom the server waits for
            self._transport.pause_reading()

    def resume(self) -> None:
        """Take from the server again."""
        if self._paused and not self._lost:
            self._paused = False
            if self._busy:
                self.deadline = self._loop.time() + self._limits.stalled_timeout_s
            self._transport.resume_reading()

    def rest(self, idle_since: float) -> None:
        """Keep the connection for a later request.

        Args:
            idle_since: Now, on the event loop's clock.
        """
        self.resume()
        self._reset()
        self._busy = False
        self.deadline = idle_since + self._limits.idle_timeout_s

    def abort(self) -> None:
        """Close the connection at once, whatever is under way: a server may then stop working on the request."""
        self._transport.abort()

    # What the event loop calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The connection stands."""
        # uvloop's transports are no subclasses of asyncio's, so this cannot be checked.
        transport = cast("asyncio.Transport", transport)
        self._transport = transport
        transport.set_write_buffer_limits(high=HIGH_WATER_BYTES)
        self._deadlines.watch(self)

    def data_received(self, data: bytes) -> None:
        """Take bytes of the server."""
        if not self._busy:
            self._transport.abort()  # nobody asked: nothing sent over this connection can be trusted any more
            return
        self._begun = True
        body_before = self._body_total
        if self._head_complete:
            self._framing_bytes += len(data)
            self.deadline = self._loop.time() + self._limits.stalled_timeout_s
        else:
            self._head_bytes += len(data)
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade) as error:
            if not self.complete:
                self._fail(AnswerBroken(f"the answer is not HTTP/1.1: {error}", begun=True))
                self._transport.abort()
                return
            self._keep_alive = False
        self._framing_bytes -= self._body_total - body_before
        if not self._head_complete and self._head_bytes > self._limits.max_head_bytes:
            self._fail(AnswerBroken("the header fields of the answer are too long", begun=True))
            self._transport.abort()
            return
        if not self.complete and self._framing_bytes > self._limits.max_head_bytes + self._body_total:
            self._fail(AnswerBroken("the answer has more chunk framing and trailers than body", begun=True))
            self._transport.abort()
            return
        if self._sink is not None and self._body:
            self._sink(self._take_body())
        if self.complete or (self._head_complete and self._body_bytes > self._wanted_bytes):
            self._wake()

    def eof_received(self) -> None:
        """The server has closed its side; what that means is decided in `connection_lost`."""

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection is gone: that ends an answer of unknown length, and breaks any other."""
        self._lost = True
        self._deadlines.forget(self)
        if not self._busy:
            self._on_idle_end(self)
        elif self._ends_with_connection and exc is None and self._error is None:
            self.complete = True
            self._wake()
        elif not self.complete:
            reason = str(exc) if exc is not None else "the server closed the connection"
            self._fail(AnswerBroken(reason, begun=self._begun))

    def expire(self, now: float) -> None:  # noqa: ARG002 -- `Timed` hands it to everybody
        """The server took too long, or nobody has needed the connection for long enough."""
        self.deadline = NEVER
        if self._busy:
            what = "stopped in the middle of its answer" if self._head_complete else "did not begin to answer"
            self._fail(AnswerTimeout(f"the server {what} in time"))
        self._transport.abort()

    # What the parser calls.

    def on_message_begin(self) -> None:
        """An answer begins: perhaps only an interim one."""
        if self.complete:
            self._surplus = True  # nobody asked for another one
        else:
            self.headers = []

    def on_header(self, name: bytes, value: bytes) -> None:
        """A header field, or a trailer, which is dropped."""
        if not self._head_complete:
            self.headers.append((name.lower(), value))

    def on_headers_complete(self) -> None:
        """The head is whole, unless it is an interim one such as `100 Continue` or `103 Early Hints`."""
        if self._surplus:
            return
        self.status = self._parser.get_status_code()
        if HTTPStatus.CONTINUE <= self.status < HTTPStatus.OK:
            return
        self._head_complete = True
        self._keep_alive = self._parser.should_keep_alive()
        self.deadline = self._loop.time() + self._limits.stalled_timeout_s
        framed = self.status in {204, 304}
        for name, value in self.headers:
            if name == b"content-length":
                self.content_length = int(value)
                framed = True
            elif name == b"transfer-encoding":
                framed = framed or value.lower().rstrip().endswith(b"chunked")
        self._ends_with_connection = not framed

    def on_body(self, chunk: bytes) -> None:
        """A part of the body."""
        if self._surplus:
            return
        self._body.append(chunk)
        self._body_bytes += len(chunk)
        self._body_total += len(chunk)

    def on_message_complete(self) -> None:
        """The answer is whole, unless it was an interim one."""
        if self._head_complete:
            self.complete = True
            self.deadline = NEVER

    # Waiting.

    async def _progress(self) -> None:
        if self._error is not None:
            raise self._error
        self._waiter = self._loop.create_future()
        try:
            await self._waiter
        finally:
            self._waiter = None
        if self._error is not None:
            raise self._error

    def _take_body(self) -> bytes:
        parts, self._body = self._body, []
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def _fail(self, error: UpstreamError) -> None:
        self._error = error
        self.deadline = NEVER
        self._wake()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)
