"""What stands in the body of a request: checked by hand, since clients know the words of the errors."""

from __future__ import annotations

from collections.abc import Iterable
from http import HTTPStatus
from typing import Any

import msgspec

from actors.errors import UNDECODABLE
from registry.gateway.services.refused import ErrorAnswer, bad_request
from registry.state.service_records import MAX_SERVICE_BYTES, ServiceName, ServicePort, ServiceText

REQUIRED = ("name", "host", "port", "hostname", "url", "status")
CHANGEABLE = ("host", "port", "hostname", "url", "status", "metadata")

A_TEXT = "a string of at most 4,096 characters"
RULES: dict[str, tuple[Any, str]] = {
    "name": (ServiceName, "a string of 1 to 1,024 characters"),
    "host": (ServiceText, A_TEXT),
    "port": (ServicePort, "an integer from 1 to 65,535"),
    "hostname": (ServiceText, A_TEXT),
    "url": (ServiceText, A_TEXT),
    "status": (ServiceText, A_TEXT),
    "timestamp": (ServiceText | None, f"{A_TEXT}, or null"),
}

_decode = msgspec.json.Decoder().decode


class _Registration(msgspec.Struct, forbid_unknown_fields=True):
    """A registration as it should be. Of any other, and of one with more in it, is said in words what is wrong."""

    name: ServiceName
    host: ServiceText
    port: ServicePort
    hostname: ServiceText
    url: ServiceText
    status: ServiceText
    metadata: dict[str, Any] | None = None
    timestamp: ServiceText | None = None


_decode_registration = msgspec.json.Decoder(_Registration).decode


def registration(body: bytes) -> dict[str, Any]:
    """Read who is to be registered.

    Returns:
        The arguments of `register_service`.

    Raises:
        ErrorAnswer: The body is none of a registration: 400 or 413.
    """
    _check_length(body)
    try:
        return msgspec.structs.asdict(_decode_registration(body))
    except UNDECODABLE:
        return _by_hand(body)


def _by_hand(body: bytes) -> dict[str, Any]:
    sent = _decoded(body)
    missing = next((field for field in REQUIRED if field not in sent), None)
    if missing is not None:
        raise bad_request(f"Missing required field: {missing}")
    fields = _checked(_object(sent), REQUIRED)
    metadata = sent.get("metadata")
    if metadata is not None:
        fields["metadata"] = _metadata(metadata, "an object or null")
    if "timestamp" in sent:
        fields["timestamp"] = _value("timestamp", sent["timestamp"])
    return fields


def update(body: bytes) -> dict[str, Any]:
    """Read what is to be changed of a service.

    Returns:
        The arguments of `update_service` without the name. None are given by an array without the name of a field: by
        the rules of the registry whose place this one takes, it has no fields and changes nothing.

    Raises:
        ErrorAnswer: The body is none of a change: 400 or 413.
    """
    sent = _decoded(body)
    given = [field for field in CHANGEABLE if field in sent]
    if not given:
        return {}
    fields = _checked(_object(sent), (field for field in given if field != "metadata"))
    if "metadata" in given:
        fields["metadata"] = _metadata(sent["metadata"], "an object")
    return fields


def heartbeat_status(body: bytes) -> str | None:
    """Read the new status from a heartbeat, which need not have a body; what is no JSON object says nothing.

    Raises:
        ErrorAnswer: The status is no string (400), or the body is too long (413).
    """
    if not body:
        return None
    _check_length(body)
    try:
        sent = _decode(body)
    except UNDECODABLE:
        return None
    if not isinstance(sent, dict) or "status" not in sent:
        return None
    status: str = _value("status", sent["status"])
    return status


def _decoded(body: bytes) -> Any:
    """A JSON value that may be asked what is `in` it."""
    _check_length(body)
    try:
        sent = _decode(body)
    except msgspec.ValidationError:  # JSON, but no processor's number
        raise bad_request("A number in the body is out of range.") from None
    except RecursionError:
        raise bad_request("The body is nested too deeply.") from None
    except UNDECODABLE:
        raise bad_request("Invalid JSON") from None
    if not isinstance(sent, dict | list | str):
        raise _no_object()
    return sent


def _check_length(body: bytes) -> None:
    if len(body) > MAX_SERVICE_BYTES:
        reason = f"The request body is longer than {MAX_SERVICE_BYTES:,} bytes."
        raise ErrorAnswer(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, reason)


def _object(sent: Any) -> dict[str, Any]:
    if not isinstance(sent, dict):
        raise _no_object()
    return sent


def _checked(sent: dict[str, Any], fields: Iterable[str]) -> dict[str, Any]:
    return {field: _value(field, sent[field]) for field in fields}


def _value(field: str, value: Any) -> Any:
    kind, words = RULES[field]
    try:
        return msgspec.convert(value, kind)
    except msgspec.ValidationError:
        raise bad_request(f"{field} must be {words}.") from None


def _metadata(value: Any, words: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise bad_request(f"metadata must be {words}.")
    return value


def _no_object() -> ErrorAnswer:
    return bad_request("The body must be a JSON object.")
