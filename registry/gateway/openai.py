"""Errors in the form OpenAI's clients expect: `{"error": {"message", "type", "param", "code"}}`."""

from __future__ import annotations

import math
from collections.abc import Iterable
from http import HTTPStatus

import msgspec

from registry.gateway.http1.response import Response

INVALID_REQUEST = "invalid_request_error"
TYPES = {
    HTTPStatus.FORBIDDEN: "permission_error",
    HTTPStatus.REQUEST_TIMEOUT: "request_timeout",
    HTTPStatus.INTERNAL_SERVER_ERROR: "internal_server_error",
    HTTPStatus.BAD_GATEWAY: "bad_gateway",
    HTTPStatus.SERVICE_UNAVAILABLE: "service_unavailable",
    HTTPStatus.GATEWAY_TIMEOUT: "gateway_timeout",
    HTTPStatus.LOOP_DETECTED: "loop_detected",
}
CODES = {
    HTTPStatus.FORBIDDEN: "foreign_origin",
    HTTPStatus.METHOD_NOT_ALLOWED: "method_not_allowed",
    HTTPStatus.REQUEST_TIMEOUT: "request_timeout",
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE: "request_too_large",
    HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE: "request_header_fields_too_large",
    HTTPStatus.INTERNAL_SERVER_ERROR: "internal_server_error",
    HTTPStatus.BAD_GATEWAY: "bad_gateway",
    HTTPStatus.SERVICE_UNAVAILABLE: "service_unavailable",
    HTTPStatus.GATEWAY_TIMEOUT: "gateway_timeout",
    HTTPStatus.LOOP_DETECTED: "loop_detected",
}
MAX_LISTED_MODELS = 100


class OpenAIError(Exception):
    """An error to be sent to a client of the data plane.

    Args:
        status: The HTTP status; the error's type and code follow from it where they are not given.
        message: One sentence for a human.
        param: The field of the request that is wrong.
        code: What a program can tell errors apart by.
        headers: Further header fields of the answer.
    """

    def __init__(
        self,
        status: HTTPStatus,
        message: str,
        *,
        param: str | None = None,
        code: str | None = None,
        headers: Iterable[tuple[bytes, bytes]] = (),
    ) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.type = TYPES.get(status, INVALID_REQUEST)
        self.param = param
        self.code = code or CODES.get(status)
        self.headers = list(headers)

    def body(self) -> bytes:
        """The error as JSON.

        Example:
            >>> OpenAIError(HTTPStatus.BAD_REQUEST, "No.").body()
            b'{"error":{"message":"No.","type":"invalid_request_error","param":null,"code":null}}'
        """
        error = {"message": self.message, "type": self.type, "param": self.param, "code": self.code}
        return msgspec.json.encode({"error": error})

    def send(self, response: Response) -> None:
        """Answer with this error."""
        response.send(self.status, [(b"content-type", b"application/json"), *self.headers], self.body())


def model_not_found(model: str, available: list[str]) -> OpenAIError:
    """Nobody offers the model, healthy or not.

    Args:
        model: What was asked for.
        available: What could be asked for; a long list is cut.
    """
    listed = ", ".join(available[:MAX_LISTED_MODELS]) or "none"
    more = f" and {len(available) - MAX_LISTED_MODELS} more" if len(available) > MAX_LISTED_MODELS else ""
    message = f"Model '{model}' not found. Available: {listed}{more}"
    return OpenAIError(HTTPStatus.NOT_FOUND, message, param="model", code="model_not_found")


def unknown_path(method: str, path: str) -> OpenAIError:
    """There is no such path under `/v1`."""
    return OpenAIError(HTTPStatus.NOT_FOUND, f"Unknown request URL: {method} {path}.", code="unknown_url")


def method_not_allowed(method: str, path: str, allowed: list[str]) -> OpenAIError:
    """The path is there, but not for this method."""
    names = ", ".join(allowed)
    return OpenAIError(
        HTTPStatus.METHOD_NOT_ALLOWED,
        f"{method} is not allowed for {path}. Allowed: {names}",
        headers=[(b"allow", names.encode())],
    )


def service_unavailable(
    message: str, retry_after_s: float = 1.0, headers: Iterable[tuple[bytes, bytes]] = ()
) -> OpenAIError:
    """It may work later.

    Args:
        message: Why it does not work now.
        retry_after_s: When to try again; rounded up to whole seconds.
        headers: Further header fields of the answer.
    """
    seconds = max(1, math.ceil(retry_after_s))
    return OpenAIError(HTTPStatus.SERVICE_UNAVAILABLE, message, headers=[(b"retry-after", b"%d" % seconds), *headers])
