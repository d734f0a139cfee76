"""What each error becomes over HTTP: one table, and the problem details around it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Match

from actors.errors import ActorsError, CommandCrashedOwner, CommandFailed, MessageTooLarge
from registry.api.problems import PROBLEM_JSON, FieldError, problem_body
from registry.errors import (
    BackendNotFound,
    CommandInvalid,
    Compacted,
    DuplicateBackend,
    InvalidField,
    LeaseNotFound,
    ModelNotFound,
    OutcomeUnknown,
    RevisionMismatch,
    ServiceNotFound,
)

STATUSES: dict[type[ActorsError], HTTPStatus] = {
    BackendNotFound: HTTPStatus.NOT_FOUND,
    LeaseNotFound: HTTPStatus.NOT_FOUND,
    ModelNotFound: HTTPStatus.NOT_FOUND,
    ServiceNotFound: HTTPStatus.NOT_FOUND,
    DuplicateBackend: HTTPStatus.CONFLICT,
    Compacted: HTTPStatus.GONE,
    RevisionMismatch: HTTPStatus.PRECONDITION_FAILED,
    MessageTooLarge: HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
    InvalidField: HTTPStatus.UNPROCESSABLE_ENTITY,
    CommandInvalid: HTTPStatus.UNPROCESSABLE_ENTITY,
    CommandFailed: HTTPStatus.INTERNAL_SERVER_ERROR,
    CommandCrashedOwner: HTTPStatus.INTERNAL_SERVER_ERROR,
    # Whatever is not named: no answer in time, no room, no disk, no owner. It may work later.
    ActorsError: HTTPStatus.SERVICE_UNAVAILABLE,
}
"""The status of an error is that of the nearest class above it."""

METHODS = ("DELETE", "GET", "PATCH", "POST", "PUT")
MAX_FIELD_ERRORS = 20
MAX_FIELD_CHARS = 200


def problem(
    status: int, detail: str, errors: Sequence[FieldError] = (), headers: Mapping[str, str] | None = None
) -> Response:
    """An answer that says what was wrong."""
    return Response(problem_body(status, detail, errors), status, headers, media_type=PROBLEM_JSON)


def answer_errors(app: FastAPI) -> None:
    """Let an application answer every error with a problem."""
    app.add_exception_handler(HTTPException, _http)
    app.add_exception_handler(RequestValidationError, _invalid_request)
    app.add_exception_handler(ActorsError, _refused)
    app.add_exception_handler(Exception, _unexpected)


def status_of(error: ActorsError) -> HTTPStatus:
    """The HTTP status of an error of the registry.

    >>> status_of(BackendNotFound("gpu-1")).value
    404
    """
    return next(STATUSES[kind] for kind in type(error).__mro__ if kind in STATUSES)


def detail_of(error: ActorsError) -> str:
    """What a client is told of an error of the registry."""
    if isinstance(error, OutcomeUnknown):
        return f"The change may have been made or not, look before you send it again: {error}"
    unanswered = status_of(error) == HTTPStatus.SERVICE_UNAVAILABLE
    return f"The registry does not answer: {error}" if unanswered else str(error)


async def _refused(request: Request, error: Exception) -> Response:  # noqa: ARG001 -- a handler's signature
    assert isinstance(error, ActorsError)  # noqa: S101 -- the only kind it is registered for
    status = status_of(error)
    if status == HTTPStatus.SERVICE_UNAVAILABLE:
        return problem(status, detail_of(error), headers={"Retry-After": "1"})
    errors = [FieldError(error.field, error.reason)] if isinstance(error, InvalidField | CommandInvalid) else []
    return problem(status, detail_of(error), errors)


async def _http(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)  # noqa: S101 -- the only kind it is registered for
    headers = dict(error.headers or {})
    path, detail = request.url.path, error.detail
    if error.status_code == HTTPStatus.NOT_FOUND and detail == HTTPStatus.NOT_FOUND.phrase:
        detail = f"There is nothing at {path}."
    elif error.status_code == HTTPStatus.METHOD_NOT_ALLOWED:
        headers["Allow"] = ", ".join(_allowed(request))
        detail = f"{request.method} is not allowed for {path}."
    return problem(error.status_code, detail, headers=headers)


def _allowed(request: Request) -> list[str]:
    """All methods of a path: it may be served by one route for each of them."""
    routes = request.app.router.routes
    allowed = {
        method
        for method in METHODS
        if any(route.matches({**request.scope, "method": method})[0] is Match.FULL for route in routes)
    }
    return sorted(allowed | ({"HEAD"} if "GET" in allowed else set()))


async def _invalid_request(request: Request, error: Exception) -> Response:  # noqa: ARG001 -- a handler's signature
    assert isinstance(error, RequestValidationError)  # noqa: S101 -- the only kind it is registered for
    found = error.errors()
    first = found[0]
    if first["type"] == "json_invalid":
        where = first["loc"][-1]
        return problem(HTTPStatus.BAD_REQUEST, f"The body is not JSON: {first['ctx']['error']} at character {where}.")
    errors = [_field_error(one) for one in found[:MAX_FIELD_ERRORS]]
    field, reason = errors[0].field, errors[0].reason
    return problem(HTTPStatus.UNPROCESSABLE_ENTITY, f"{field}: {reason}" if field else reason, errors)


def _field_error(found: Mapping[str, Any]) -> FieldError:
    """One complaint, without the value: that may be long, or a secret."""
    # What is said of a key stands beside it in a part of its own.
    parts = [part for part in found["loc"][1:] if part != "[key]"]
    field = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in parts).strip(".")
    return FieldError(field[:MAX_FIELD_CHARS], found["msg"].removeprefix("Value error, "))


async def _unexpected(request: Request, error: Exception) -> Response:  # noqa: ARG001 -- a handler's signature
    # The error goes on from here, to the log.
    return problem(HTTPStatus.INTERNAL_SERVER_ERROR, "The gateway failed on this request.")
