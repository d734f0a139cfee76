"""A completion: lease, upstream call, answer, release."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from http import HTTPStatus

from registry.errors import CallTimeout, ModelNotFound, NoBackendAvailable, QueueFull
from registry.gateway.completion_call import decode_call
from registry.gateway.event_stream import EventStream
from registry.gateway.forwarding import NOT_SENT_DOWN, Destination, end_to_end, field_value
from registry.gateway.http1.messages import Fields, Request
from registry.gateway.http1.pool import UpstreamPool
from registry.gateway.http1.response import Response
from registry.gateway.http1.upstream import UpstreamConnection
from registry.gateway.http1.upstream_errors import AnswerTimeout, ConnectFailed, Unreachable, UpstreamError
from registry.gateway.leasing import HeldLease, LeasingRegistry
from registry.gateway.openai import OpenAIError, model_not_found, service_unavailable
from registry.gateway.settings import GatewaySettings
from registry.gateway.trail import Trail
from registry.kinds import Outcome
from registry.models import Lease

MAX_KNOWN_DESTINATIONS = 1024

RETRY_AFTER_S = 5.0
"""When a backend that nobody could connect to may be back, or known to be down."""


class CompletionProxy:
    """Passes completion requests on to backends.

    Args:
        registry: Says which backend, and counts.
        pool: Connections to the backends.
        settings: Keys and limits.
        trail: The sign of this server.
    """

    def __init__(self, registry: LeasingRegistry, pool: UpstreamPool, settings: GatewaySettings, trail: Trail) -> None:
        self._registry = registry
        self._pool = pool
        self._max_buffered_bytes = settings.max_buffered_bytes
        self._queue_timeout_s = settings.queue_timeout_s
        api_keys = {url.rstrip("/"): key for url, key in settings.api_keys.items()}
        self._destination = functools.lru_cache(MAX_KNOWN_DESTINATIONS)(
            lambda url: Destination(
                url, api_keys.get(url.rstrip("/")), forward_authorization=settings.forward_authorization, trail=trail
            )
        )

    async def complete(self, request: Request, response: Response, request_id: bytes) -> None:
        """Answer a completion request with a backend's answer.

        A backend that cannot be reached has seen nothing of the request, so another one is asked, once.

        Args:
            request: The client's request; its body is passed on unchanged.
            response: Where the answer goes.
            request_id: The request's identifier.

        Raises:
            OpenAIError: There is no answer to pass on: 400, 404, 502, 503 or 504.
            ActorsError: The owner did not answer.
        """
        model = decode_call(request.body).model
        try:
            lease = await self._acquire(model)
        except ModelNotFound as error:
            raise model_not_found(error.model, error.available) from None
        except NoBackendAvailable as error:
            raise service_unavailable(_why_none(error), error.retry_after_s) from None
        except QueueFull as error:
            raise service_unavailable(f"All backends are busy: {error}.", RETRY_AFTER_S) from None
        except CallTimeout:
            message = f"No backend for model '{model}' became free within {self._queue_timeout_s:g} s."
            raise service_unavailable(message, RETRY_AFTER_S) from None
        try:
            await self._attempt(lease, request, response, request_id)
        except Unreachable as first:
            try:
                lease = await self._acquire(model, [lease.backend])
            except (ModelNotFound, NoBackendAvailable, QueueFull, CallTimeout):
                raise _failure(lease, first) from None
            try:
                await self._attempt(lease, request, response, request_id)
            except Unreachable as second:
                raise _failure(lease, second) from None

    async def _acquire(self, model: str, exclude: Sequence[str] = ()) -> Lease:
        """A lease, for which the client stands in line while all backends are busy; if it leaves, so does its place."""
        if self._queue_timeout_s == 0:
            return await self._registry.acquire(model, exclude=exclude)
        return await self._registry.acquire(model, exclude=exclude, wait=True, timeout=self._queue_timeout_s)

    async def _attempt(self, lease: Lease, request: Request, response: Response, request_id: bytes) -> None:
        with HeldLease(self._registry, lease) as held:
            try:
                destination = self._destination(lease.url)
            except ValueError as error:
                held.outcome = Outcome.UNREACHABLE
                raise ConnectFailed(None, str(error)) from None
            upstream = None
            try:
                upstream = await self._pool.exchange(
                    destination.endpoint, destination.head(request, request_id), request.body
                )
                held.answered()
                await self._pass_on(lease, upstream, response)
                held.outcome = _outcome(upstream.status)
            except Unreachable:
                held.outcome = Outcome.UNREACHABLE
                raise
            except UpstreamError as error:
                held.outcome = Outcome.TIMEOUT if isinstance(error, AnswerTimeout) else Outcome.BROKEN
                if not response.started:
                    raise _failure(lease, error) from None
            finally:
                if upstream is not None:
                    # Closes the connection unless the answer was read to its end: also when the client left.
                    self._pool.give_back(destination.endpoint, upstream)

    async def _pass_on(self, lease: Lease, upstream: UpstreamConnection, response: Response) -> None:
        headers = end_to_end(upstream.headers, NOT_SENT_DOWN)
        headers += _backend_fields(lease)
        if not _is_event_stream(headers):
            body = await upstream.body(self._max_buffered_bytes)
            if body is None:
                await _relay(upstream, response, headers)
            else:
                response.send(upstream.status, headers, body)
        elif any(name == b"content-encoding" for name, _ in headers):
            await _relay(upstream, response, headers)  # nothing readable can be put into a compressed stream
        else:
            await _relay_events(lease, upstream, response, headers)


async def _relay(upstream: UpstreamConnection, response: Response, headers: Fields) -> None:
    response.start(upstream.status, headers, length=upstream.content_length)
    response.govern(upstream)
    try:
        await upstream.relay(response.write)
    except UpstreamError:
        response.abort()  # only a cut connection tells the client that this is not all
        raise
    response.end()


async def _relay_events(lease: Lease, upstream: UpstreamConnection, response: Response, headers: Fields) -> None:
    events = EventStream()
    response.start(upstream.status, headers)
    response.govern(upstream)
    try:
        await upstream.relay(lambda data: response.write(events.feed(data)))
    except UpstreamError as error:
        response.write(events.break_off(_failure(lease, error).body()))
        response.end()
        raise
    response.write(events.finish())
    response.end()


def _is_event_stream(headers: Fields) -> bool:
    return any(name == b"content-type" and value.lower().startswith(b"text/event-stream") for name, value in headers)


def _backend_fields(lease: Lease) -> Fields:
    return [(b"x-registry-backend", field_value(lease.backend))]


def _why_none(error: NoBackendAvailable) -> str:
    which = "free" if error.busy else "healthy"
    return f"No {which} backend for model '{error.model}' right now."


def _failure(lease: Lease, error: UpstreamError) -> OpenAIError:
    message = f"Backend {lease.backend}: {error}."
    if isinstance(error, Unreachable):
        return service_unavailable(message, RETRY_AFTER_S, _backend_fields(lease))
    status = HTTPStatus.GATEWAY_TIMEOUT if isinstance(error, AnswerTimeout) else HTTPStatus.BAD_GATEWAY
    return OpenAIError(status, message, headers=_backend_fields(lease))


def _outcome(status: int) -> Outcome:
    if status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        return Outcome.SERVER_ERROR
    return Outcome.CLIENT_ERROR if status >= HTTPStatus.BAD_REQUEST else Outcome.OK
