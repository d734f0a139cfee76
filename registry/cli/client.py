"""The control API as a command calls it: what it answers, or a sentence on why not."""

from __future__ import annotations

import os
import ssl
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from types import TracebackType
from typing import Any, Self, TypeVar

import httpx2
import msgspec

from actors.errors import UNDECODABLE
from registry.cli.errors import NoServer, Refused, WrongUse
from registry.cli.finding import Place
from registry.texts import is_one_ascii_line
from registry.urls import is_this_machine

KEY_VARIABLE = "ACTOR_REGISTRY_ADMIN_KEY"
CONNECT_TIMEOUT_S = 5.0
ANSWER_TIMEOUT_S = 30.0
SILENCE_S = 45.0
"""Longest silence of a stream; the server says something every 15 s."""

MARK = "x-registry-gateway"
"""A field of every answer of a gateway, and of nobody else's."""

Parameters = Sequence[tuple[str, str]]
E = TypeVar("E", bound=BaseException)


class _FieldError(msgspec.Struct):
    field: str = ""
    reason: str = ""


class _Problem(msgspec.Struct):
    """An error as RFC 9457 has it; all members are optional there. What is about services has `error` instead."""

    error: str = ""
    title: str = ""
    detail: str = ""
    errors: list[_FieldError] = []


class Client:
    """Calls one server.

    Every method raises:
        Refused: The server said no.
        NoServer: It did not answer, or what answered is no registry.
        WrongUse: The address is that of no host at all.

    Args:
        place: Where the server is.

    Raises:
        WrongUse: The address or the admin key cannot be used.
    """

    def __init__(self, place: Place) -> None:
        self._place = place
        self._key = admin_key()
        # To load the trusted certificates takes longer than all the rest, and plain HTTP has no use for them.
        with_tls = place.url.startswith("https://")
        try:
            self._http = httpx2.Client(
                base_url=place.url,
                timeout=httpx2.Timeout(ANSWER_TIMEOUT_S, connect=CONNECT_TIMEOUT_S),
                verify=with_tls,
                # A transport of our own asks no proxy of the environment: it cannot reach this machine's own addresses.
                transport=httpx2.HTTPTransport(verify=with_tls) if is_this_machine(place.url) else None,
            )
        except (httpx2.InvalidURL, ValueError) as error:
            raise WrongUse(f"{place.url} cannot be called: {error}") from None
        except OSError as error:
            reason = error.strerror or str(error)
            raise WrongUse(f"the trusted certificates cannot be loaded ({reason}): look at SSL_CERT_FILE") from None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._http.close()

    @property
    def url(self) -> str:
        """The server's base address."""
        return self._place.url

    def get(self, path: str, parameters: Parameters = ()) -> Any:
        """The JSON at a path."""
        with self._explained(), self._http.stream("GET", path, params=list(parameters)) as response:
            return self._body_of(response)

    def change(self, method: str, path: str, body: object = None, headers: Mapping[str, str] | None = None) -> Any:
        """Ask for a change; returns the JSON of the answer.

        Args:
            method: `POST`, `PATCH` or `DELETE`.
            path: What is changed.
            body: Sent as JSON, if it is not None.
            headers: Further fields of the request.
        """
        sent = dict(headers or {})
        if self._key:
            sent["authorization"] = f"Bearer {self._key}"
        content = None
        if body is not None:
            content = msgspec.json.encode(body)
            sent["content-type"] = "application/merge-patch+json" if method == "PATCH" else "application/json"
        doubt = "; it may have been done all the same: look before you repeat it"
        with self._explained(doubt), self._http.stream(method, path, content=content, headers=sent) as response:
            return self._body_of(response)

    @contextmanager
    def events(self, path: str, parameters: Parameters) -> Iterator[Iterator[httpx2.ServerSentEvent]]:
        """A stream of server-sent events, for the time of the block."""
        asked = self._http.stream(
            "GET",
            path,
            params=list(parameters),
            headers={"accept": "text/event-stream"},
            timeout=httpx2.Timeout(SILENCE_S, connect=CONNECT_TIMEOUT_S),
        )
        with self._explained(), asked as response:
            self._check(response)
            yield iter(httpx2.EventSource(response))

    def _body_of(self, response: httpx2.Response) -> Any:
        self._check(response)
        body = response.read()
        try:
            return msgspec.json.decode(body) if body else None
        except UNDECODABLE as error:
            raise NoServer(f"{self.url} answered something that is no JSON ({error})") from None

    def _check(self, response: httpx2.Response) -> None:
        if MARK not in response.headers:
            to = response.headers.get("location")
            says = f"{response.status_code} {response.reason_phrase}".strip() + (f", go to {to}" if to else "")
            raise NoServer(
                f"what answers at {self.url} is not actor-registry (it says: {says}); name the server by --server"
            )
        if not response.is_success:
            response.read()
            if response.status_code == httpx2.codes.UNAUTHORIZED and self._key:
                raise Refused(f"the admin key in {KEY_VARIABLE} is not the server's", response.status_code)
            raise Refused(_in_words(response), response.status_code)

    @contextmanager
    def _explained(self, doubt: str = "") -> Iterator[None]:
        """Turn what the HTTP library raises into a sentence; `doubt` is added where the request was sent."""
        try:
            yield
        except (httpx2.ConnectTimeout, httpx2.ConnectError) as error:
            raise NoServer(self._why_not_connected(error)) from None
        except UnicodeEncodeError as error:
            if error.encoding == "utf-8":
                raise  # it is about what is sent, and not about the host
            raise WrongUse(_no_host(self.url)) from None
        except UnicodeError:
            raise WrongUse(_no_host(self.url)) from None
        except httpx2.TimeoutException:
            raise NoServer(f"{self.url} did not answer in time{doubt}") from None
        except httpx2.HTTPError as error:
            raise NoServer(f"{self.url} broke the connection off ({error}){doubt}") from None

    def _why_not_connected(self, error: httpx2.TransportError) -> str:
        if isinstance(error, httpx2.ConnectTimeout):
            return f"{self.url} cannot be reached within {CONNECT_TIMEOUT_S:g} s: {self._place.why_nobody}"
        trouble = _cause(error, ssl.SSLError)
        if isinstance(trouble, ssl.SSLCertVerificationError):
            return (
                f"the certificate of {self.url} is not trusted: {trouble.verify_message}; "
                "SSL_CERT_FILE names a file of trusted ones"
            )
        if trouble is not None:
            return f"{self.url} does not speak TLS as it should ({trouble.reason or trouble}); should it be http:// ?"
        system = _cause(error, OSError)
        reason = (system.strerror if system is not None else None) or str(error)
        return f"nobody answers at {self.url} ({reason}): {self._place.why_nobody}"


def admin_key() -> str:
    """The admin key that the environment names; empty if it names none.

    Raises:
        WrongUse: It cannot be one.
    """
    key = os.environ.get(KEY_VARIABLE, "").strip()
    if not is_one_ascii_line(key):
        raise WrongUse(f"{KEY_VARIABLE}: must be one line of ASCII characters")
    return key


def _in_words(response: httpx2.Response) -> str:
    try:
        problem = msgspec.json.decode(response.content, type=_Problem)
    except UNDECODABLE:
        problem = _Problem()
    said = problem.detail or problem.error or problem.title or f"{response.status_code} {response.reason_phrase}"
    fields = "; ".join(f"{one.field}: {one.reason}" for one in problem.errors if one.reason not in said)
    hint = f"give the admin key by {KEY_VARIABLE}" if response.status_code == httpx2.codes.UNAUTHORIZED else ""
    return " - ".join(part for part in (said.rstrip("."), fields, hint) if part)


def _no_host(url: str) -> str:
    return f"{url} cannot be called: its host is no name that could be looked up"


def _cause(error: BaseException, type: type[E]) -> E | None:
    """The first error of a type among those that led to this one."""
    found: BaseException | None = error
    while found is not None and not isinstance(found, type):
        found = found.__cause__ or found.__context__
    return found
