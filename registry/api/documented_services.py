"""The part of the OpenAPI document about services: written by hand, since the gateway answers them without FastAPI."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any

from registry.api.documented import DESCRIPTIONS, HEADERS, header

JSON = "application/json"
TAG = "services"

NAME = {"type": "string", "minLength": 1, "maxLength": 1024}
TEXT = {"type": "string", "maxLength": 4096}
PORT = {"type": "integer", "minimum": 1, "maximum": 65_535}
TIME = {"type": "string", "description": "ISO 8601, in UTC."}
COUNT = {"type": "integer", "minimum": 0}
METADATA = {
    "type": "object",
    "additionalProperties": {"$ref": "#/components/schemas/JsonValue"},
    "description": "Anything. A service whose `type` is `openai-api` is a backend too, with its `models`.",
}
TOLD = {
    "host": TEXT,
    "port": PORT,
    "hostname": TEXT,
    "url": TEXT,
    "status": {**TEXT, "description": "Only `running` counts as healthy."},
}


def _object(properties: dict[str, Any], *, closed: bool = True) -> dict[str, Any]:
    """An object with exactly these fields, or with these at least."""
    return {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        **({"additionalProperties": False} if closed else {}),
    }


def _reference(schema: str) -> dict[str, Any]:
    return {"$ref": f"#/components/schemas/{schema}"}


SERVICE_SCHEMAS: dict[str, Any] = {
    "JsonValue": {
        "description": "A value of JSON; an integer of more than 64 bits is refused.",
        "anyOf": [
            {"type": "null"},
            {"type": "boolean"},
            {"type": "string"},
            {"type": "integer", "minimum": -(2**63), "maximum": 2**64 - 1},
            {"type": "number"},
            {"type": "array", "items": {"$ref": "#/components/schemas/JsonValue"}},
            {"type": "object", "additionalProperties": {"$ref": "#/components/schemas/JsonValue"}},
        ],
    },
    "Service": _object(
        {
            "name": NAME,
            **TOLD,
            "timestamp": {**TEXT, "description": "When it was registered, as it has said itself, or ISO 8601 in UTC."},
            "last_heartbeat": {"type": "number", "description": "Seconds since 1970."},
            "health_status": {"enum": ["unknown", "healthy", "unhealthy"], "description": "What probes have found."},
            "metadata": METADATA,
            "is_healthy": {
                "type": "boolean",
                "description": "Whether its status is `running` and its latest heartbeat young enough.",
            },
        }
    ),
    "Registration": {
        **_object({"name": NAME, **TOLD}, closed=False),
        "properties": {
            "name": NAME,
            **TOLD,
            "metadata": {"anyOf": [METADATA, {"type": "null"}]},
            "timestamp": {"anyOf": [TEXT, {"type": "null"}]},
        },
    },
    "ServiceChange": {"type": "object", "properties": {**TOLD, "metadata": METADATA}},
    "ServiceHeartbeat": {"type": "object", "properties": {"status": TEXT}},
    "ServiceList": _object(
        {"services": {"type": "array", "items": _reference("Service")}, "total": COUNT, "timestamp": TIME}
    ),
    "ServiceDone": _object({"message": {"type": "string"}, "service": _reference("Service")}),
    "ServiceCheck": _object(
        {
            "service": NAME,
            "health_status": {"enum": ["healthy", "unhealthy", "unknown"]},
            "is_healthy": {"type": "boolean"},
            "last_heartbeat": {"type": "number"},
            "timestamp": TIME,
        }
    ),
    "RegistryHealth": _object(
        {
            "status": {"const": "healthy"},
            "registry": {"const": "running"},
            "registered_services": COUNT,
            "healthy_services": COUNT,
            "timestamp": TIME,
        }
    ),
    "RegistryStats": _object(
        {
            "total_services": COUNT,
            "healthy_services": COUNT,
            "unhealthy_services": COUNT,
            "status_distribution": {"type": "object", "additionalProperties": COUNT},
            "host_distribution": {"type": "object", "additionalProperties": COUNT},
            "uptime": {"type": "number", "description": "Seconds since the system was started."},
            "timestamp": TIME,
        }
    ),
    "ServiceError": _object({"error": {"type": "string"}}),
}

SAYS = {
    **DESCRIPTIONS,
    HTTPStatus.BAD_REQUEST: "The body is not JSON, or a field is missing or out of its limits.",
    HTTPStatus.NOT_FOUND: "There is no service of this name.",
}
ALWAYS = (HTTPStatus.BAD_REQUEST, HTTPStatus.FORBIDDEN, HTTPStatus.SERVICE_UNAVAILABLE)
WITH_NAME = (HTTPStatus.NOT_FOUND,)
WITH_BODY = (HTTPStatus.REQUEST_ENTITY_TOO_LARGE,)


def service_paths(*, need_key: bool) -> dict[str, Any]:
    """The paths of the document.

    Args:
        need_key: Whether changes need the admin key.
    """
    name = _parameter("path", "name", NAME, "Percent-encoded, slashes too.")
    status = _parameter("query", "status", {"type": "string"}, "Only those of this status.")
    healthy = _parameter(
        "query", "healthy", {"type": "string"}, "`true`: only healthy ones; anything else: only the others."
    )
    paths: dict[str, Any] = {
        "/services": {
            "get": _operation("List services", "ServiceList", parameters=[status, healthy]),
            "post": _operation("Register a service", "ServiceDone", 201, *WITH_BODY, body="Registration"),
        },
        "/services/{name}": {
            "get": _operation("Show a service", "Service", 200, *WITH_NAME, parameters=[name]),
            "put": _operation(
                "Change a service", "ServiceDone", 200, *WITH_NAME, *WITH_BODY, parameters=[name], body="ServiceChange"
            ),
            "delete": _operation("Remove a service", None, 200, *WITH_NAME, parameters=[name]),
        },
        "/services/{name}/heartbeat": {
            "post": _operation(
                "Say that a service is alive",
                None,
                200,
                *(*WITH_NAME, *WITH_BODY),
                parameters=[name],
                body="ServiceHeartbeat",
                body_required=False,
            )
        },
        "/services/{name}/health": {
            "get": _operation("Probe a service now", "ServiceCheck", 200, *WITH_NAME, parameters=[name])
        },
        "/health": {"get": _operation("Count the services", "RegistryHealth")},
        "/stats": {"get": _operation("Count the services by status and host", "RegistryStats")},
    }
    for operations in paths.values():
        for method, operation in operations.items():
            if method != "get":
                operation["responses"]["401"] = _error(HTTPStatus.UNAUTHORIZED)
                if need_key:
                    operation["security"] = [{"adminKey": []}]
    return paths


def _operation(
    summary: str,
    answer: str | None,
    success: int = 200,
    *errors: HTTPStatus,
    parameters: list[dict[str, Any]] | None = None,
    body: str | None = None,
    body_required: bool = True,
) -> dict[str, Any]:
    """An operation; without the schema of an answer it has a message."""
    schema = _reference(answer) if answer else {"type": "object", "required": ["message"]}
    return {
        "tags": [TAG],
        "summary": summary,
        **({"parameters": parameters} if parameters else {}),
        **(
            {"requestBody": {"required": body_required, "content": {JSON: {"schema": _reference(body)}}}}
            if body
            else {}
        ),
        "responses": {
            str(success): {"description": "Done.", "content": {JSON: {"schema": schema}}},
            **{str(status.value): _error(status) for status in sorted({*ALWAYS, *errors})},
        },
    }


def _error(status: HTTPStatus) -> dict[str, Any]:
    return {
        "description": SAYS[status],
        "content": {JSON: {"schema": _reference("ServiceError")}},
        "headers": {name: header(text) for name, text in HEADERS.get(status, {}).items()},
    }


def _parameter(where: str, name: str, schema: dict[str, Any], description: str) -> dict[str, Any]:
    return {"in": where, "name": name, "required": where == "path", "schema": schema, "description": description}
