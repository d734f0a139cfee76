"""The whole gateway: who answers what."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Awaitable, Callable
from http import HTTPStatus
from typing import Protocol

from actors.errors import ActorsError, CommandInvalid
from registry.addresses import AddressRules
from registry.api.problems import PROBLEM_JSON, problem_body
from registry.gateway.asgi import AsgiApp, answer_with_asgi
from registry.gateway.http1.connector import Connector
from registry.gateway.http1.deadlines import Deadlines
from registry.gateway.http1.listener import Listener
from registry.gateway.http1.messages import Refusal, Request
from registry.gateway.http1.pool import UpstreamPool
from registry.gateway.http1.response import Response
from registry.gateway.leasing import LeasingRegistry
from registry.gateway.models import models_body
from registry.gateway.openai import OpenAIError, method_not_allowed, service_unavailable, unknown_path
from registry.gateway.origin import OriginPolicy, refuse_page
from registry.gateway.proxy import CompletionProxy
from registry.gateway.request_ids import RequestIds
from registry.gateway.services.asked import ServicesRegistry
from registry.gateway.services.endpoints import ServiceEndpoints, is_about_services
from registry.gateway.services.refused import ErrorAnswer
from registry.gateway.settings import GatewaySettings
from registry.gateway.trail import Trail

JSON = (b"content-type", b"application/json")
Answerer = Callable[[Request, Response, bytes], Awaitable[None]]


class GatewayRegistry(LeasingRegistry, ServicesRegistry, Protocol):
    """The part of `registry.AsyncRegistry` that a gateway uses."""


class Gateway:
    """Answers HTTP requests: `/v1` and services itself, everything else by the control plane.

    Must be made within a running event loop, on which everything then runs.

    Args:
        registry: Leases, models and services.
        settings: What this gateway is told at its start.

    Attributes:
        leaving: Set when this gateway takes no new clients any more.
    """

    def __init__(self, registry: GatewayRegistry, settings: GatewaySettings) -> None:
        self._registry = registry
        self._deadlines = Deadlines(asyncio.get_running_loop(), settings.tick_s)
        connector = Connector(AddressRules.of(settings.addresses))
        self._pool = UpstreamPool(settings.upstream, self._deadlines, connector)
        self._listener = Listener(self, settings.server, self._deadlines)
        self._control: AsgiApp | None = None
        self._request_ids = RequestIds()
        self._identity = b"x-registry-gateway: %b/%d\r\nx-request-id: " % (settings.name.encode(), os.getpid())
        self._origins = OriginPolicy(
            loopback=settings.loopback,
            allowed_hosts=frozenset(name.lower() for name in settings.allowed_hosts),
            allowed_origins=frozenset(page.lower().rstrip("/") for page in settings.allowed_origins),
        )
        services_key = None if settings.open_services else settings.admin_key
        self._services = ServiceEndpoints(registry, self._origins, services_key)
        self._trail = Trail(settings.pseudonym)
        proxy = CompletionProxy(registry, self._pool, settings, self._trail)
        self._data_plane: dict[bytes, dict[bytes, Answerer]] = {
            b"/v1/chat/completions": {b"POST": proxy.complete},
            b"/v1/completions": {b"POST": proxy.complete},
            b"/v1/models": {b"GET": self._list_models, b"HEAD": self._list_models},
        }
        self.leaving = asyncio.Event()

    @property
    def connections(self) -> int:
        """How many clients are connected."""
        return self._listener.connections

    def mount(self, control: AsgiApp) -> None:
        """Let an ASGI application answer all that is neither under `/v1` nor about services."""
        self._control = control

    def serve(self, listening: socket.socket) -> None:
        """Accept clients from now on.

        Args:
            listening: A bound and listening TCP socket, perhaps shared with other processes; it stays the
                caller's.
        """
        self._listener.listen(listening)

    async def drain(self, deadline_s: float) -> int:
        """Take no new clients, let requests under way finish, and close everything.

        Args:
            deadline_s: How long requests may take to finish, in seconds; then they are cut off.

        Returns:
            How many connections were cut off.
        """
        self.leaving.set()
        cut_off = await self._listener.drain(deadline_s)
        self._pool.close()
        return cut_off

    async def handle(self, request: Request, response: Response) -> None:
        """Answer one request."""
        request_id = self._identify(response, request.header(b"x-request-id"))
        if is_about_services(request.path):
            await self._services.answer(request, response)
            return
        try:
            await self._route(request, response, request_id)
        except OpenAIError as error:
            self._send_error(error, response)
        except CommandInvalid as error:
            refused = OpenAIError(HTTPStatus.BAD_REQUEST, error.reason, param=error.field or None)
            self._send_error(refused, response)
        except ActorsError as error:
            self._send_error(service_unavailable(f"The registry does not answer: {error}"), response)

    def begin(self, request: Request, response: Response) -> bool:
        """Take what services send all the time, and a handful of lines answers."""
        if not self._services.begin(request, response):
            return False
        self._identify(response, request.header(b"x-request-id"))
        return True

    def refuse(self, refusal: Refusal, response: Response) -> None:
        """Answer a client whose request cannot be handled."""
        if not response.fields:
            self._identify(response, None)
        if is_about_services(refusal.path):
            self._services.refuse(ErrorAnswer(refusal.status, refusal.reason), response)
            return
        if refusal.path.startswith(b"/") and not _is_in_data_plane(refusal.path):
            self._send_problem(refusal.status, refusal.reason, response)
            return
        # What such a client wanted is often unknown; most of them are OpenAI clients.
        self._send_error(OpenAIError(refusal.status, refusal.reason), response)

    def _identify(self, response: Response, given: bytes | None) -> bytes:
        request_id = self._request_ids.identify(given)
        response.fields = b"%b%b\r\n" % (self._identity, request_id)
        return request_id

    def _send_error(self, error: OpenAIError, response: Response) -> None:
        error.send(response)
        self._registry.count_http_error(error.status)

    def _send_problem(self, status: HTTPStatus, detail: str, response: Response) -> None:
        response.send(status, [(b"content-type", PROBLEM_JSON.encode())], problem_body(status, detail))
        self._registry.count_http_error(status)

    async def _route(self, request: Request, response: Response, request_id: bytes) -> None:
        path, method = request.path, request.method
        in_data_plane = _is_in_data_plane(path)
        refused = refuse_page(self._origins, request, guards_reads=not in_data_plane)
        if refused is not None:
            if in_data_plane:
                raise OpenAIError(HTTPStatus.FORBIDDEN, refused)
            self._send_problem(HTTPStatus.FORBIDDEN, refused, response)
            return
        if in_data_plane:
            answerers = self._data_plane.get(path)
            if answerers is None:
                raise unknown_path(method.decode(), path.decode())
            answerer = answerers.get(method)
            if answerer is None:
                raise method_not_allowed(method.decode(), path.decode(), [name.decode() for name in answerers])
            if self._trail.leads_back(request.headers):
                raise OpenAIError(
                    HTTPStatus.LOOP_DETECTED, "This server is a backend of itself: the request came back."
                )
            await answerer(request, response, request_id)
        elif self._control is not None:
            await answer_with_asgi(self._control, request, response)
            if response.status >= HTTPStatus.BAD_REQUEST:
                self._registry.count_http_error(response.status)
        else:
            self._send_problem(HTTPStatus.NOT_FOUND, "There is no control plane here.", response)

    async def _list_models(self, request: Request, response: Response, request_id: bytes) -> None:  # noqa: ARG002 -- an Answerer
        response.send(HTTPStatus.OK, [JSON], models_body(await self._registry.get_models()))


def _is_in_data_plane(path: bytes) -> bool:
    return path.startswith(b"/v1/") or path == b"/v1"
