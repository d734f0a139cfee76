"""One client: its requests are answered in order, in a task that ends when the client leaves."""

from __future__ import annotations

import asyncio
from collections import deque
from http import HTTPStatus
from typing import Protocol, cast

import structlog

from registry.gateway.http1.deadlines import NEVER, Deadlines
from registry.gateway.http1.heads import Heads
from registry.gateway.http1.limits import ServerLimits
from registry.gateway.http1.messages import Refusal, Request
from registry.gateway.http1.request_reader import RequestReader
from registry.gateway.http1.response import Flow, Response

HIGH_WATER_BYTES = 256 * 1024
CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"

log = structlog.get_logger(__name__)


class Application(Protocol):
    """What answers the requests."""

    async def handle(self, request: Request, response: Response) -> None:
        """Answer `request`. Cancelled at once when the client leaves, whatever it waits for."""

    def begin(self, request: Request, response: Response) -> bool:
        """Take a request that is answered without a task of its own: now, or whenever the answer is known.

        Nothing else of the client is answered until then. False: it shall be handled as others are.
        """

    def refuse(self, refusal: Refusal, response: Response) -> None:
        """Answer, whole and without waiting, a client whose request cannot be handled."""


class ClientConnection(asyncio.Protocol):
    """The server's side of one client's connection.

    A client that closes its sending side has left: nearly always the socket is closed in full, and a request
    for nobody would keep a model busy.

    Args:
        application: What answers.
        limits: What the client may send and how long it may take.
        deadlines: Calls `expire` when `deadline` has passed.
        members: The open connections, in which this one enters and removes itself.
        heads: What the clients have sent before.

    Attributes:
        deadline: When the client is given up on, on the event loop's clock.
    """

    def __init__(
        self,
        application: Application,
        limits: ServerLimits,
        deadlines: Deadlines,
        members: set[ClientConnection],
        heads: Heads,
    ) -> None:
        self._application = application
        self._limits = limits
        self._deadlines = deadlines
        self._members = members
        self._loop = asyncio.get_running_loop()
        self._reader = RequestReader(limits, self._deliver, heads)
        self._queue: deque[Request | Refusal] = deque()
        self._wake: asyncio.Future[None] | None = None
        self._response: Response | None = None
        self._flow: Flow | None = None
        self._drained: asyncio.Future[None] | None = None
        self._write_paused = False
        self._read_paused = False
        self._refused = False
        self._closing = False
        self._draining = False
        self._lost = False
        self._closed: asyncio.Future[None] = self._loop.create_future()
        self.deadline = NEVER

    # What the event loop calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """A client has come."""
        # uvloop's transports are no subclasses of asyncio's, so this cannot be checked.
        transport = cast("asyncio.Transport", transport)
        self._transport = transport
        transport.set_write_buffer_limits(high=HIGH_WATER_BYTES)
        self._members.add(self)
        self._deadlines.watch(self)
        self._task = self._loop.create_task(self._serve())
        self._expect_request()

    def data_received(self, data: bytes) -> None:
        """Take bytes of the client."""
        if self._refused or self._closing:
            return
        began_before = self._reader.in_request
        try:
            self._reader.feed(data)
        except Refusal as refusal:
            self._refuse(refusal)
            return
        if self._response is not None or self._queue:
            return
        if began_before and self._reader.in_request:
            self.deadline += len(data) / self._limits.min_body_bytes_per_s
            self._send_continue()
        else:
            self._expect_request()

    def eof_received(self) -> None:
        """The client has left."""
        if self._response is not None:
            # A plain close would first wait until all is sent, to somebody who is not there.
            self._transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 -- how the client left changes nothing
        """The connection is gone: whatever is done for the client ends now."""
        self._lost = True
        self._closed.set_result(None)
        self._members.discard(self)
        self._deadlines.forget(self)
        self._task.cancel()

    def pause_writing(self) -> None:
        """The client reads more slowly than we write."""
        self._write_paused = True
        self.deadline = self._loop.time() + self._limits.stalled_timeout_s
        if self._flow is not None:
            self._flow.pause()

    def resume_writing(self) -> None:
        """The client has caught up."""
        self._write_paused = False
        self.deadline = NEVER
        if self._response is None and not self._queue:
            self._expect_request()
        if self._flow is not None:
            self._flow.resume()
        if self._drained is not None and not self._drained.done():
            self._drained.set_result(None)

    def expire(self, now: float) -> None:
        """The client took too long."""
        if self._closing or self._write_paused:
            self._transport.abort()
        elif self._reader.in_request and not self._refused:
            reason = "The request did not arrive whole in time."
            self._refuse(Refusal(HTTPStatus.REQUEST_TIMEOUT, reason, self._reader.path))
        else:
            self._closing = True
            self.deadline = now + self._limits.linger_s
            self._transport.close()

    # What a Response calls.

    def write(self, data: bytes) -> None:
        """Send bytes to the client, if it is still there."""
        # uvloop closes the transport of a client that is gone before it tells of it by `connection_lost`.
        if not self._transport.is_closing():
            self._transport.write(data)

    def abort(self) -> None:
        """Cut the client off."""
        self._transport.abort()

    def govern(self, flow: Flow) -> None:
        """Pause `flow` whenever the client reads too slowly."""
        self._flow = flow
        if self._write_paused:
            flow.pause()

    async def writable(self) -> None:
        """Wait until the client has read enough."""
        if self._write_paused:
            self._drained = self._loop.create_future()
            await self._drained

    # What the listener calls.

    def drain(self) -> None:
        """Finish what is being answered and take nothing more; leave at once if there is nothing."""
        self._draining = True
        if self._response is not None:
            if not self._response.started:
                self._response.keep_alive = False
        elif not self._queue and not self._reader.in_request and not self._closing:
            self._transport.close()

    async def wait_closed(self) -> None:
        """Wait until the connection is gone and nothing is done for it any more."""
        await self._closed
        await asyncio.wait([self._task])

    # One request after the other.

    def _deliver(self, request: Request | Refusal) -> None:
        self.deadline = NEVER
        if isinstance(request, Request) and self._begin(request):
            return
        self._queue.append(request)
        if len(self._queue) >= self._limits.max_pipelined and not self._read_paused:
            self._read_paused = True
            self._transport.pause_reading()
        if self._wake is not None and not self._wake.done():
            self._wake.set_result(None)

    def _begin(self, request: Request) -> bool:
        """Let the application answer without the task, which is not worth its while for the shortest answers."""
        if self._response is not None or self._queue or self._write_paused:
            return False  # it waits for its turn
        response = self._response_to(request)
        self._response = response
        if not self._application.begin(request, response):
            self._response = None
            return False
        if response.complete:
            self._begun_is_done()
        else:
            response.on_complete = self._begun_is_done
        return True

    def _begun_is_done(self) -> None:
        response, self._response = self._response, None
        assert response is not None  # noqa: S101 - this is called once for each
        if not response.keep_alive:
            self._close()
        elif not self._queue:
            if not self._write_paused:  # else what it may take to read its answers is all that counts
                self._expect_request()
        elif self._wake is not None and not self._wake.done():
            self._wake.set_result(None)

    def _refuse(self, refusal: Refusal) -> None:
        self._refused = True
        self._deliver(refusal)

    async def _serve(self) -> None:
        while not self._lost:
            # One that was begun without this task may still be waiting for its answer.
            while not self._queue or self._response is not None:
                self._wake = self._loop.create_future()
                await self._wake
                self._wake = None
            if self._closing:
                return  # the last answer was given while this task was being woken
            item = self._queue.popleft()
            if self._read_paused and not self._transport.is_closing():
                self._read_paused = False
                self._transport.resume_reading()
            if isinstance(item, Refusal):
                self._application.refuse(item, self._new_response(head_only=False))
                break
            if not await self._answer(item):
                break
            await self.writable()
            if not self._queue and self._response is None:
                self._expect_request()
        self._close()

    async def _answer(self, request: Request) -> bool:
        response = self._response_to(request)
        self._response = response
        try:
            await self._application.handle(request, response)
        except Exception:  # one faulty answer must not take the others of this process with it
            log.exception("request_failed", path=request.path.decode("latin-1"))
        finally:
            self._response = None
            self._flow = None
        if not response.complete:
            if response.started:
                response.abort()
            else:
                response.keep_alive = False
                reason = "The gateway failed on this request."
                refusal = Refusal(HTTPStatus.INTERNAL_SERVER_ERROR, reason, request.path)
                self._application.refuse(refusal, response)
        return response.keep_alive and not self._draining

    def _response_to(self, request: Request) -> Response:
        return self._new_response(
            head_only=request.method == b"HEAD",
            http_1_0=request.http_1_0,
            keep_alive=request.keep_alive and not self._draining,
        )

    def _new_response(self, *, head_only: bool, http_1_0: bool = False, keep_alive: bool = False) -> Response:
        return Response(self, head_only=head_only, http_1_0=http_1_0, keep_alive=keep_alive)

    def _expect_request(self) -> None:
        """Nothing is being answered: the client is waited for, but not for ever."""
        in_request = self._reader.in_request
        limits = self._limits
        self.deadline = self._loop.time() + (limits.request_timeout_s if in_request else limits.idle_timeout_s)
        self._send_continue()

    def _send_continue(self) -> None:
        if self._reader.wants_continue:
            self._reader.wants_continue = False
            self.write(CONTINUE)

    def _close(self) -> None:
        if self._lost or self._transport.is_closing():
            return
        self._closing = True
        now = self._loop.time()
        if self._refused or self._queue or self._reader.in_request:
            self.deadline = now + self._limits.linger_s
            self._transport.write_eof()
        else:
            self.deadline = now + self._limits.stalled_timeout_s
            self._transport.close()
