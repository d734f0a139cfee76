"""The OpenAPI document: what FastAPI makes of the routes, and what it cannot know of errors and keys."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI

from registry.api.problems import PROBLEM_JSON
from registry.api.routes import JSON, MERGE_PATCH

PROBLEM = {
    "type": "object",
    "description": "What was wrong (RFC 9457).",
    "required": ["type", "title", "status", "detail"],
    "additionalProperties": False,
    "properties": {
        "type": {"type": "string", "const": "about:blank"},
        "title": {"type": "string", "description": "The meaning of the status."},
        "status": {"type": "integer", "minimum": 400, "maximum": 599},
        "detail": {"type": "string", "description": "One sentence about this very case."},
        "errors": {
            "type": "array",
            "minItems": 1,
            "description": "The fields at fault.",
            "items": {
                "type": "object",
                "required": ["field", "reason"],
                "additionalProperties": False,
                "properties": {"field": {"type": "string"}, "reason": {"type": "string"}},
            },
        },
    },
}

DESCRIPTIONS = {
    HTTPStatus.BAD_REQUEST: "The request is malformed; its body is not JSON.",
    HTTPStatus.UNAUTHORIZED: "Changes need the admin key.",
    HTTPStatus.FORBIDDEN: "A web page of another site asks, or the server was called by a name that is not its own.",
    HTTPStatus.NOT_FOUND: "There is none of this id.",
    HTTPStatus.CONFLICT: "There is one of this id already.",
    HTTPStatus.GONE: "The history has nothing from that revision on: read everything, and go on from there.",
    HTTPStatus.PRECONDITION_FAILED: "It was changed in the meantime, or is there already; nothing was changed.",
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE: "The body is too long.",
    HTTPStatus.UNSUPPORTED_MEDIA_TYPE: "The body is not of a media type that is taken here.",
    HTTPStatus.UNPROCESSABLE_ENTITY: "A field is missing, unknown or out of its limits.",
    HTTPStatus.SERVICE_UNAVAILABLE: "The owner does not answer, or cannot store the change.",
}
HEADERS = {
    HTTPStatus.UNAUTHORIZED: {"WWW-Authenticate": "How to send the key."},
    HTTPStatus.SERVICE_UNAVAILABLE: {"Retry-After": "When to try again, in seconds."},
}

ALWAYS = (
    *(HTTPStatus.BAD_REQUEST, HTTPStatus.FORBIDDEN, HTTPStatus.UNPROCESSABLE_ENTITY, HTTPStatus.SERVICE_UNAVAILABLE),
)
WRITING = (HTTPStatus.UNAUTHORIZED,)
WITH_BODY = (*WRITING, HTTPStatus.REQUEST_ENTITY_TOO_LARGE, HTTPStatus.UNSUPPORTED_MEDIA_TYPE)

Responses = dict[int | str, dict[str, Any]]


def header(description: str) -> dict[str, Any]:
    """A header field that an answer always has."""
    return {"description": description, "required": True, "schema": {"type": "string"}}


ETAG = {"ETag": header("The backend's revision in quotes, for `If-Match`.")}
LOCATION = {"Location": header("Where the backend is from now on.")}
FOUND: Responses = {200: {"headers": ETAG}}
CREATED: Responses = {201: {"description": "It was added.", "headers": {**ETAG, **LOCATION}}}


def problems(*statuses: int) -> Responses:
    """The errors of an operation, with those that each one has."""
    return {
        status.value: {
            "description": DESCRIPTIONS[status],
            "content": {PROBLEM_JSON: {"schema": {"$ref": "#/components/schemas/Problem"}}},
            "headers": {name: header(text) for name, text in HEADERS.get(status, {}).items()},
        }
        for status in sorted({*ALWAYS, *map(HTTPStatus, statuses)})
    }


def document(
    app: FastAPI, *, has_key: bool, others: Mapping[str, Any], schemas: Mapping[str, Any]
) -> Callable[[], dict[str, Any]]:
    """What makes the document when it is first asked for.

    Args:
        app: The application.
        has_key: Whether changes need the admin key.
        others: Paths that something else answers, as they are to be in the document.
        schemas: What those refer to.
    """
    make = app.openapi

    def complete() -> dict[str, Any]:
        if app.openapi_schema:
            return app.openapi_schema
        made = make()
        components = made.setdefault("components", {})
        components.setdefault("schemas", {}).update({"Problem": PROBLEM, **schemas})
        if has_key:
            components["securitySchemes"] = {"adminKey": {"type": "http", "scheme": "bearer"}}
        for operations in made["paths"].values():
            for method, operation in operations.items():
                for parameter in operation.get("parameters", ()):
                    _simplify(parameter["schema"])
                if has_key and method != "get":
                    operation["security"] = [{"adminKey": []}]
                if method == "patch":
                    taken = operation["requestBody"]["content"]
                    taken[MERGE_PATCH] = taken[JSON]
        made["paths"].update(others)
        return made

    return complete


def _simplify(schema: dict[str, Any]) -> None:
    """A parameter that may be left out is null in Python, and never in a request; the parameter itself is described."""
    choices = [choice for choice in schema.pop("anyOf", ()) if choice != {"type": "null"}]
    schema.update(*choices)
    for said in ("title", "description"):
        schema.pop(said, None)
