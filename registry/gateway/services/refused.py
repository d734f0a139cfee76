"""Errors in the form of the service registry: `{"error": "..."}`."""

from __future__ import annotations

from collections.abc import Iterable
from http import HTTPStatus

import msgspec

from actors.errors import ActorsError
from registry.api.refusals import detail_of, status_of
from registry.gateway.http1.response import Response

RETRY_SOON = (b"retry-after", b"1")


class ErrorAnswer(Exception):
    """An error, raised where it is found and sent to the client of the service registry.

    Args:
        status: The HTTP status.
        message: One sentence for a human.
        headers: Further header fields of the answer.
    """

    def __init__(self, status: HTTPStatus, message: str, headers: Iterable[tuple[bytes, bytes]] = ()) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.headers = list(headers)

    def body(self) -> bytes:
        """The error as JSON.

        Example:
            >>> ErrorAnswer(HTTPStatus.BAD_REQUEST, "Invalid JSON").body()
            b'{"error":"Invalid JSON"}'
        """
        return msgspec.json.encode({"error": self.message})

    def send(self, response: Response) -> None:
        """Answer with this error."""
        response.send(self.status, [(b"content-type", b"application/json"), *self.headers], self.body())


def bad_request(message: str) -> ErrorAnswer:
    """The request is wrong."""
    return ErrorAnswer(HTTPStatus.BAD_REQUEST, message)


def not_found(name: str) -> ErrorAnswer:
    """There is no service of this name."""
    return ErrorAnswer(HTTPStatus.NOT_FOUND, f"Service '{name}' not found")


def refused_by_registry(error: ActorsError) -> ErrorAnswer:
    """What an error of the registry becomes."""
    status = status_of(error)
    if status == HTTPStatus.UNPROCESSABLE_ENTITY:
        # Clients of service registries know one status for all that is wrong with a request.
        status = HTTPStatus.BAD_REQUEST
    headers = [RETRY_SOON] if status == HTTPStatus.SERVICE_UNAVAILABLE else []
    return ErrorAnswer(status, detail_of(error), headers)
