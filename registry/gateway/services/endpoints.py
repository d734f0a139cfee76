"""Which request about services is answered how, and who may send it."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from http import HTTPStatus

from actors.errors import ActorsError, CallTimeout
from registry.api.admin_key import AdminKey
from registry.gateway.http1.messages import Request
from registry.gateway.http1.response import Response
from registry.gateway.origin import SAFE_METHODS, OriginPolicy, refuse_page
from registry.gateway.services import wire
from registry.gateway.services.asked import ServicesRegistry
from registry.gateway.services.bodies import heartbeat_status, registration, update
from registry.gateway.services.heartbeats import Heartbeats
from registry.gateway.services.listing import Listing
from registry.gateway.services.queries import MAX_NAME_CHARS, name_in, wanted_in
from registry.gateway.services.refused import RETRY_SOON, ErrorAnswer, not_found, refused_by_registry
from registry.gateway.services.registrations import Registrations, registered
from registry.operations import Operations

SERVICES = b"/services"
BELOW = b"/services/"
PLAIN_HEARTBEAT = re.compile(rb"/services/([!#$&-.0-~]{1,1024})/heartbeat")
"""The name stands in the path as it is: visible ASCII without slash, percent sign and quotation mark."""

ALONE = frozenset({SERVICES, b"/health", b"/stats"})

GATHERED_BYTES = 16 * 1024
"""A longer registration goes to the owner alone, so that no message of several is too long."""

MAX_CHECKS = 256
"""So many services are probed at once for the clients of one gateway: each takes the place of a call to the owner."""

Answerer = Callable[[Request, Response], Awaitable[None]]
NamedAnswerer = Callable[[Request, Response, str], Awaitable[None]]


def is_about_services(path: bytes) -> bool:
    """Whether a path, still percent-encoded, is one of those that are answered here."""
    return path in ALONE or path.startswith(BELOW)


class ServiceEndpoints:
    """Answers all requests about services.

    Args:
        registry: What is asked.
        origins: Which web pages may write.
        admin_key: The key that changes need; None lets everybody change services.
    """

    def __init__(self, registry: ServicesRegistry, origins: OriginPolicy, admin_key: str | None) -> None:
        self._registry = registry
        self._origins = origins
        self._key = AdminKey(admin_key)
        self._listing = Listing(registry)
        self._heartbeats = Heartbeats(registry, self._refused)
        self._registrations = Registrations(registry, self._refused)
        self._checks = 0
        self._alone: dict[bytes, dict[bytes, Answerer]] = {
            SERVICES: {b"GET": self._list, b"HEAD": self._list, b"POST": self._register},
            b"/health": {b"GET": self._health, b"HEAD": self._health},
            b"/stats": {b"GET": self._stats, b"HEAD": self._stats},
        }
        # What follows the name in the path.
        self._named: dict[bytes, dict[bytes, NamedAnswerer]] = {
            b"": {b"DELETE": self._remove, b"GET": self._get, b"HEAD": self._get, b"PUT": self._update},
            b"/health": {b"GET": self._check, b"HEAD": self._check},
            b"/heartbeat": {b"POST": self._heartbeat},
        }

    async def answer(self, request: Request, response: Response) -> None:
        """Answer one request."""
        try:
            await self._route(request, response)
        except ErrorAnswer as error:
            self.refuse(error, response)
        except ActorsError as error:
            self._refused(error, response)

    def _refused(self, error: ActorsError, response: Response) -> None:
        self.refuse(refused_by_registry(error), response)

    def begin(self, request: Request, response: Response) -> bool:
        """Take a heartbeat or a registration as most of them are; whatever is odd about it is for `answer`.

        Returns:
            Whether it was taken: then `response` is sent later, when the owner has answered.
        """
        usual = request.note
        if usual is None:
            request.note = usual = self._usual(request)
        if not usual:
            return False
        if request.body:
            return self._take(request, response)
        self._heartbeats.hear(usual, response)
        return True

    def _usual(self, request: Request) -> str:
        """Of a heartbeat without a body the name, of a registration its path, and of anything else nothing."""
        path = request.path
        found = PLAIN_HEARTBEAT.fullmatch(path)
        if not (path == SERVICES and request.body) and not (found and not request.body):
            return ""
        if request.method != b"POST" or refuse_page(self._origins, request, guards_reads=True) is not None:
            return ""
        if self._key.refuse(request.header(b"authorization")) is not None:
            return ""
        return (found[1] if found else path).decode()

    def _take(self, request: Request, response: Response) -> bool:
        """Take a registration; False for one that is long, or wrong."""
        if len(request.body) > GATHERED_BYTES:
            return False
        try:
            self._registrations.take(registration(request.body), response)
        except (ErrorAnswer, ActorsError):
            return False
        return True

    def refuse(self, error: ErrorAnswer, response: Response) -> None:
        """Answer with an error, and count it."""
        error.send(response)
        self._registry.count_http_error(error.status)

    async def _route(self, request: Request, response: Response) -> None:
        path, method = request.path, request.method
        refused = refuse_page(self._origins, request, guards_reads=True)
        if refused is not None:
            raise ErrorAnswer(HTTPStatus.FORBIDDEN, refused)
        alone = self._alone.get(path)
        if alone is not None:
            answerer = alone.get(method)
            if answerer is None:
                raise _method_not_allowed(request, alone)
            self._check_key(request)
            await answerer(request, response)
            return
        segment, slash, rest = path[len(BELOW) :].partition(b"/")
        named = self._named.get(slash + rest)
        if named is None or not segment:
            raise ErrorAnswer(HTTPStatus.NOT_FOUND, f"There is nothing at {path.decode('latin-1')}.")
        named_answerer = named.get(method)
        if named_answerer is None:
            raise _method_not_allowed(request, named)
        self._check_key(request)
        name = name_in(segment)
        if len(name) > MAX_NAME_CHARS:  # no service has such a name
            raise not_found(name)
        await named_answerer(request, response, name)

    def _check_key(self, request: Request) -> None:
        if request.method in SAFE_METHODS:
            return
        keyless = self._key.refuse(request.header(b"authorization"))
        if keyless is not None:
            challenge = (b"www-authenticate", keyless.challenge.encode())
            raise ErrorAnswer(HTTPStatus.UNAUTHORIZED, keyless.detail, [challenge])

    # Without a name.

    async def _list(self, request: Request, response: Response) -> None:
        wanted = wanted_in(request.target.partition(b"?")[2])
        await self._registry.sync()
        await wire.send_list(response, self._listing.read(wanted))

    async def _register(self, request: Request, response: Response) -> None:
        register = Operations.register_service.call(**registration(request.body))
        registered(await self._registry.perform(register), response)

    async def _health(self, request: Request, response: Response) -> None:  # noqa: ARG002 -- an Answerer
        await self._registry.sync()
        wire.send(response, wire.health(self._listing.states()))

    async def _stats(self, request: Request, response: Response) -> None:  # noqa: ARG002 -- an Answerer
        uptime_s = (await self._registry.metrics()).uptime_s
        await self._registry.sync()
        wire.send(response, wire.stats(self._listing.states(), uptime_s))

    # Of one service.

    async def _get(self, request: Request, response: Response, name: str) -> None:  # noqa: ARG002 -- a NamedAnswerer
        wire.send(response, wire.encode(await self._registry.get_service(name)))

    async def _update(self, request: Request, response: Response, name: str) -> None:
        try:
            changes = update(request.body)
        except ErrorAnswer:
            await self._require(name)
            raise
        service = await self._registry.update_service(name, **changes)
        wire.send(response, wire.done_with(name, "updated", service))

    async def _remove(self, request: Request, response: Response, name: str) -> None:  # noqa: ARG002 -- a NamedAnswerer
        await self._registry.remove_service(name)
        wire.send(response, wire.done(name, "unregistered"))

    async def _heartbeat(self, request: Request, response: Response, name: str) -> None:
        try:
            status = heartbeat_status(request.body)
        except ErrorAnswer:
            await self._require(name)
            raise
        await self._registry.perform(Operations.heartbeat.call(name, status))
        wire.send(response, wire.heard())

    async def _check(self, request: Request, response: Response, name: str) -> None:  # noqa: ARG002 -- a NamedAnswerer
        if self._checks >= MAX_CHECKS:
            reason = f"{MAX_CHECKS} services are being probed for clients of this gateway, which is the limit."
            raise ErrorAnswer(HTTPStatus.SERVICE_UNAVAILABLE, reason, [RETRY_SOON])
        self._checks += 1
        try:
            service = await self._registry.check_service(name)
        except CallTimeout:
            reason = f"No health checker has probed '{name}' in time."
            raise ErrorAnswer(HTTPStatus.SERVICE_UNAVAILABLE, reason, [RETRY_SOON]) from None
        finally:
            self._checks -= 1
        wire.send(response, wire.checked(service))

    async def _require(self, name: str) -> None:
        """Let an unknown name be said before anything else that is wrong."""
        await self._registry.get_service(name)


def _method_not_allowed(request: Request, answerers: dict[bytes, Answerer] | dict[bytes, NamedAnswerer]) -> ErrorAnswer:
    reason = f"{request.method.decode('latin-1')} is not allowed for {request.path.decode('latin-1')}."
    return ErrorAnswer(HTTPStatus.METHOD_NOT_ALLOWED, reason, [(b"allow", b",".join(sorted(answerers)))])
