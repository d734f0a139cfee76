"""The metadata of services: what it may hold, and what it says of a backend."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import msgspec

from registry.errors import InvalidField
from registry.state.records import MAX_MODELS
from registry.state.service_records import MAX_SERVICE_BYTES, ServiceRecord

BACKEND_TYPE = "openai-api"
"""The `type` of a service that is a backend."""

MAX_DEPTH = 100
"""So many lists and objects may be within one another: more can be written, but not surely be read again."""

MAX_MODEL_CHARS = 1024


def checked(metadata: dict[str, Any]) -> dict[str, Any]:
    """Metadata that can be stored as JSON, and be read again as it was; raises `InvalidField`."""
    _check(metadata, 1)
    length = len(msgspec.json.encode(metadata))
    if length > MAX_SERVICE_BYTES:
        raise InvalidField("metadata", f"longer than {MAX_SERVICE_BYTES:,} bytes as JSON: {length:,}")
    return metadata


def _check(value: Any, depth: int) -> None:
    match value:
        case str() | bool() | int() | None:
            return
        case float():
            if not math.isfinite(value):
                raise InvalidField("metadata", f"holds the number {value}, which JSON does not know")
            return
        case list() | dict() if depth > MAX_DEPTH:
            raise InvalidField("metadata", f"more than {MAX_DEPTH} lists and objects are within one another")
        case list():
            parts: Sequence[Any] = value
        case dict():
            for key in value:
                if not isinstance(key, str):
                    raise InvalidField("metadata", f"has the key {key!r:.200}, which is no string")
            parts = list(value.values())
        case _:
            raise InvalidField("metadata", f"holds a {type(value).__name__}, which JSON does not know")
    for part in parts:
        _check(part, depth + 1)


def is_backend(record: ServiceRecord) -> bool:
    """Whether a service says that it is a backend."""
    return bool(record.metadata.get("type") == BACKEND_TYPE)


def declared_models(record: ServiceRecord) -> dict[str, None]:
    """Ids of the models that a service says it has, each once, in its order; what is no id is left out."""
    models = record.metadata.get("models")
    if not isinstance(models, list):
        return {}
    ids = (id for id in models if isinstance(id, str) and 1 <= len(id) <= MAX_MODEL_CHARS)
    found: dict[str, None] = {}
    for id in ids:
        if len(found) == MAX_MODELS:
            break
        found[id] = None
    return found
