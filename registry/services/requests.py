"""Every request to a service registry: what is sent, and how its answer is read. Nothing is sent here."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Generic, TypeAlias, TypeVar

import msgspec
from msgspec import UNSET, UnsetType

from actors.errors import UNDECODABLE
from registry.errors import InvalidField, ServiceNotFound
from registry.services import answers
from registry.services.answers import RegistryHealth, RegistryStats, ServiceCheck
from registry.services.errors import AnswerInvalid, RegistryRefused
from registry.services.faces import asked
from registry.state.service_metadata import check_depth
from registry.state.service_records import MAX_SERVICE_BYTES, ServiceName, ServicePort, ServiceText, ServiceView
from registry.texts import sentence_of
from registry.urls import http_url, path_of

T = TypeVar("T")

MAX_ANSWER_BYTES = 4 * 1024 * 1024
"""Longest answer about one service: its metadata, of which every character may be an escape."""

MAX_LIST_BYTES = 64 * 1024 * 1024
"""Longest list of services that is read."""

MAX_REASON_CHARS = 300

Views: TypeAlias = list[ServiceView]


class _Registration(msgspec.Struct, omit_defaults=True):
    name: ServiceName
    host: ServiceText
    port: ServicePort
    hostname: ServiceText
    url: ServiceText
    status: ServiceText
    metadata: dict[str, Any] | UnsetType = UNSET
    timestamp: ServiceText | UnsetType = UNSET


class _Update(msgspec.Struct, omit_defaults=True):
    host: ServiceText | UnsetType = UNSET
    port: ServicePort | UnsetType = UNSET
    hostname: ServiceText | UnsetType = UNSET
    url: ServiceText | UnsetType = UNSET
    status: ServiceText | UnsetType = UNSET
    metadata: dict[str, Any] | UnsetType = UNSET


class _Named(msgspec.Struct):
    name: ServiceName


@dataclass(frozen=True, slots=True)
class Request(Generic[T]):
    """A request, and how its answer is read.

    Attributes:
        method: The HTTP method.
        path: The path, quoted, under the registry's address.
        read: Makes the result of the body of an answer.
        query: What is asked for in the query.
        body: JSON; None for no body.
        service: The name of the service that it is about; None if it is about none that must be there.
        max_bytes: Longest answer.
    """

    method: str
    path: str
    read: Callable[[bytes], T]
    query: tuple[tuple[str, str], ...] = ()
    body: bytes | None = None
    service: str | None = None
    max_bytes: int = MAX_ANSWER_BYTES

    def result(self, status: int, phrase: str, body: bytes) -> T:
        """What an answer means.

        Args:
            status: Its status.
            phrase: What stands beside the status.
            body: Its body.

        Raises:
            ServiceNotFound: There is no such service.
            RegistryRefused: It is another error.
            AnswerInvalid: It cannot be read.
        """
        if status == 404 and self.service is not None:
            raise ServiceNotFound(self.service)
        if not 200 <= status <= 299:
            raise RegistryRefused(status, shown(answers.said(body) or phrase or "it does not say why"))
        try:
            return self.read(body)
        except UNDECODABLE as error:
            raise AnswerInvalid(shown(str(error))) from None


def positive(field: str, value: object) -> float:
    """A number of seconds, if it is one above 0; raises `InvalidField`."""
    if not isinstance(value, float | int) or not 0 < value < math.inf:
        raise InvalidField(field, "must be a number above 0")
    return value


def shown(text: str) -> str:
    """A foreign text as part of a sentence."""
    return sentence_of(text, MAX_REASON_CHARS)


class ServiceRequests:
    """All that can be asked of a service registry. Each becomes a method of both clients."""

    @asked
    @staticmethod
    def register(
        name: str,
        *,
        port: int,
        host: str = "127.0.0.1",
        hostname: str | None = None,
        url: str | None = None,
        status: str = "running",
        metadata: Mapping[str, Any] | None = None,
        timestamp: str | None = None,
    ) -> Request[ServiceView]:
        """Add a service, or replace the one of this name wholly.

        Args:
            name: Its name.
            port: Its TCP port.
            host: Where it runs.
            hostname: Where it runs, if that is to be something else than `host`.
            url: Its base address; `http://HOST:PORT` unless given.
            status: Its own word; only `running` counts as healthy.
            metadata: Whatever else it says. One whose `type` is `openai-api` is a backend too, with its `models`.
            timestamp: When it was registered; now unless given.

        Raises:
            InvalidField: A value is out of its limits.
        """
        fields = {
            "name": name,
            "host": host,
            "port": port,
            "hostname": host if hostname is None else hostname,
            "url": http_url(str(host), port) if url is None else url,
            "status": status,
            **_given(metadata=metadata, timestamp=timestamp),
        }
        return Request("POST", "/services", answers.read_changed, body=_json(fields, _Registration))

    @asked
    @staticmethod
    def update(
        name: str,
        *,
        host: str | None = None,
        port: int | None = None,
        hostname: str | None = None,
        url: str | None = None,
        status: str | None = None,
        metadata: Mapping[str, Any] | None = None,
    ) -> Request[ServiceView]:
        """Change what is given; it is a heartbeat in any case.

        Args:
            name: The service.
            host: Where it runs from now on.
            port: Its port from now on.
            hostname: Where it runs from now on.
            url: Its base address from now on.
            status: Its status from now on.
            metadata: All of its metadata from now on.

        Raises:
            ServiceNotFound: There is none of this name.
            InvalidField: A value is out of its limits.
        """
        fields = _given(host=host, port=port, hostname=hostname, url=url, status=status, metadata=metadata)
        path = _path(name)
        return Request("PUT", path, answers.read_changed, body=_json(fields, _Update), service=name)

    @asked
    @staticmethod
    def heartbeat(name: str, status: str | None = None) -> Request[None]:
        """Say that a service is alive.

        Args:
            name: The service.
            status: Its status from now on; it stays unless given.

        Raises:
            ServiceNotFound: There is none of this name; it must be registered again.
            InvalidField: A value is out of its limits.
        """
        body = None if status is None else _json({"status": status}, _Update)
        return Request("POST", _path(name, "heartbeat"), answers.read_nothing, body=body, service=name)

    @asked
    @staticmethod
    def remove(name: str) -> Request[None]:
        """Remove a service.

        Raises:
            ServiceNotFound: There is none of this name.
        """
        return Request("DELETE", _path(name), answers.read_nothing, service=name)

    @asked
    @staticmethod
    def get(name: str) -> Request[ServiceView]:
        """One service.

        Raises:
            ServiceNotFound: There is none of this name.
        """
        return Request("GET", _path(name), answers.read_service, service=name)

    @asked
    @staticmethod
    def list(*, status: str | None = None, healthy: bool | None = None) -> Request[Views]:
        """The services, in the registry's order.

        Args:
            status: Only those of this status.
            healthy: Only the healthy ones (true), or only the others (false).
        """
        query = [] if status is None else [("status", status)]
        if healthy is not None:
            query.append(("healthy", "true" if healthy else "false"))
        return Request("GET", "/services", answers.read_services, query=tuple(query), max_bytes=MAX_LIST_BYTES)

    @asked
    @staticmethod
    def check(name: str) -> Request[ServiceCheck]:
        """Let the registry probe a service now; for a healthy one that is as good as a heartbeat.

        Raises:
            ServiceNotFound: There is none of this name.
        """
        return Request("GET", _path(name, "health"), answers.read_check, service=name)

    @asked
    @staticmethod
    def health() -> Request[RegistryHealth]:
        """What the registry says of itself."""
        return Request("GET", "/health", answers.read_health)

    @asked
    @staticmethod
    def stats() -> Request[RegistryStats]:
        """How many services there are, by status and by host."""
        return Request("GET", "/stats", answers.read_stats)


def _given(**values: object) -> dict[str, object]:
    return {field: value for field, value in values.items() if value is not None}


def _path(name: str, *more: str) -> str:
    _checked({"name": name}, _Named)
    return path_of("services", name, *more)


def _json(fields: dict[str, Any], type: type) -> bytes:
    """The fields as JSON, if they are in the limits that the registry has too."""
    if isinstance(metadata := fields.get("metadata"), Mapping):
        fields = {**fields, "metadata": _sound(metadata)}
    body = msgspec.json.encode(_checked(fields, type))
    if len(body) > MAX_SERVICE_BYTES:
        raise InvalidField("metadata", f"too long: the whole request may have {MAX_SERVICE_BYTES:,} bytes of JSON")
    return body


def _sound(metadata: Mapping[str, Any]) -> Any:
    """The metadata as JSON has it; not every value of Python can be sent."""
    try:
        sound = json.loads(json.dumps(dict(metadata), allow_nan=False))
        msgspec.msgpack.encode(sound)  # JSON has integers of any length, and a registry those of 64 bits
    except (TypeError, ValueError, OverflowError, RecursionError) as error:
        raise InvalidField("metadata", f"cannot be sent as JSON: {error}") from None
    check_depth(sound)
    return sound


def _checked(fields: dict[str, Any], type: type) -> Any:
    try:
        checked: Any = msgspec.convert(fields, type)
        msgspec.json.encode(checked)
    except msgspec.ValidationError as error:
        reason, _, where = str(error).partition(" - at `$")
        raise InvalidField(where.strip(".`") or "fields", reason) from None
    except UnicodeEncodeError:
        field = next(name for name, value in fields.items() if not _is_text(value))
        raise InvalidField(field, "holds characters that are no text") from None
    return checked


def _is_text(value: object) -> bool:
    try:
        msgspec.json.encode(value)
    except UnicodeEncodeError:
        return False
    return True
