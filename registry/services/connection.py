"""Requests to one service registry over HTTP, each with a deadline."""

from __future__ import annotations

import asyncio
import os
import socket
from typing import TypeVar

import httpx2

from registry.errors import InvalidField
from registry.services.errors import AnswerInvalid, RegistryUnreachable
from registry.services.requests import Request, positive, shown
from registry.texts import is_one_ascii_line
from registry.urls import is_this_machine, normalise_url

T = TypeVar("T")

CLOSED = "this client of a service registry is closed"


class Connection:
    """Sends requests from one event loop, which is that of its first request.

    Args:
        url: Base address of the registry.
        key: Sent as a bearer token; None for no key.
        timeout_s: Longest wait for the whole of an answer, in seconds.

    Raises:
        InvalidField: The address, the key or the deadline cannot be used.
    """

    def __init__(self, url: str, key: str | None, timeout_s: float) -> None:
        self.url = normalise_url(url)
        self.timeout_s = positive("timeout_s", timeout_s)
        self._key = _checked_key(key)
        self._closed = False
        self._http: httpx2.AsyncClient | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    async def perform(self, request: Request[T]) -> T:
        """Send a request and read the answer.

        Raises:
            ServicesError: There is no answer, or it cannot be used, or it says no.
            ServiceNotFound: The service that it is about is not there.
            RuntimeError: It is closed, or in use by another event loop.
        """
        http = self._opened()
        try:
            # The library's own timeout is for each read: a byte now and then would keep a call waiting for ever.
            async with asyncio.timeout(self.timeout_s):
                status, phrase, body = await self._exchange(http, request)
        except TimeoutError:
            raise self._unreachable(f"no answer within {self.timeout_s:g} s") from None
        except httpx2.ConnectError as error:
            raise self._unreachable(_root_cause(error), maybe_done=False) from None
        except httpx2.HTTPError as error:
            if self._closed:
                raise RuntimeError(CLOSED) from None
            raise self._unreachable(f"the connection broke ({_root_cause(error)})") from None
        except UnicodeError:
            raise self._unreachable("its host is no name that could be looked up", maybe_done=False) from None
        if self._key and status >= 400:
            body = body.replace(self._key.encode(), b"***")  # a registry may say what it was told
        return request.result(status, phrase, body)

    async def close(self) -> None:
        """Close its connections; no request can be sent any more."""
        self._closed = True
        http, self._http = self._http, None
        if http is not None and self._loop is asyncio.get_running_loop():
            await http.aclose()

    def _opened(self) -> httpx2.AsyncClient:
        if self._closed:
            raise RuntimeError(CLOSED)
        loop = asyncio.get_running_loop()
        if self._http is None:
            self._http, self._loop = self._client(), loop
        elif self._loop is not loop:
            raise RuntimeError("a client of a service registry belongs to the event loop that first used it")
        return self._http

    def _client(self) -> httpx2.AsyncClient:
        # To load the trusted certificates takes longer than all the rest, and plain HTTP has no use for them.
        with_tls = self.url.startswith("https://")
        headers = {"accept": "application/json", "accept-encoding": "identity", "user-agent": "actor-registry"}
        if self._key:
            headers["authorization"] = f"Bearer {self._key}"
        try:
            return httpx2.AsyncClient(
                headers=headers,
                timeout=None,  # `perform` has a deadline for all of it
                verify=with_tls,
                # A transport of our own asks no proxy of the environment: it cannot reach this machine's own addresses.
                transport=httpx2.AsyncHTTPTransport(verify=with_tls) if is_this_machine(self.url) else None,
            )
        except OSError as error:
            why = f"the trusted certificates cannot be loaded ({error.strerror or error}): look at SSL_CERT_FILE"
            raise self._unreachable(why, maybe_done=False) from None

    async def _exchange(self, http: httpx2.AsyncClient, request: Request[T]) -> tuple[int, str, bytes]:
        headers = {} if request.body is None else {"content-type": "application/json"}
        async with http.stream(
            request.method,
            f"{self.url}{request.path}",
            params=list(request.query) or None,
            content=request.body,
            headers=headers,
        ) as response:
            body = bytearray()
            async for chunk in response.aiter_raw():
                body += chunk
                if len(body) > request.max_bytes:
                    raise AnswerInvalid(f"it has more than {request.max_bytes:,} bytes")
            return response.status_code, response.reason_phrase, bytes(body)

    def _unreachable(self, reason: str, *, maybe_done: bool = True) -> RegistryUnreachable:
        return RegistryUnreachable(self.url, shown(reason), maybe_done=maybe_done)


def _checked_key(key: str | None) -> str:
    key = "" if key is None else key.strip()
    if not is_one_ascii_line(key):
        raise InvalidField("key", "must be one line of ASCII characters")
    return key


def _root_cause(error: BaseException) -> str:
    """What the operating system said, without what the libraries made of it."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, socket.gaierror) and cause.strerror:
            return cause.strerror
        if isinstance(cause, OSError) and cause.errno:
            return os.strerror(cause.errno)  # asyncio writes its own words over those of the system
        cause = cause.__cause__ or cause.__context__
    return str(error) or type(error).__name__
