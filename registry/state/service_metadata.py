"""The metadata of services: what it may hold, and what it says of a backend."""

from __future__ import annotations

from collections.abc import Iterable
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


def checked(metadata: dict[str, Any]) -> bytes:
    """Metadata as JSON, which reads again as what it is.

    Raises:
        InvalidField: It cannot be stored so, or is too long.
    """
    check_depth(metadata)
    try:
        text = msgspec.json.encode(metadata)
        same = bool(msgspec.json.decode(text) == metadata)
    except (TypeError, ValueError) as error:
        raise InvalidField("metadata", f"cannot be written as JSON: {error}") from error
    if len(text) > MAX_SERVICE_BYTES:
        raise InvalidField("metadata", f"must have at most {MAX_SERVICE_BYTES:,} bytes as JSON, not {len(text):,}")
    if not same:
        raise InvalidField("metadata", "holds what JSON does not know: NaN, an infinite number, bytes, a time")
    return text


def check_depth(metadata: dict[str, Any]) -> None:
    """Raise `InvalidField` if there is too much within one another."""
    # Level by level, because a megabyte may hold half a million parts, and everybody waits meanwhile.
    level: list[Any] = [metadata]
    for _ in range(MAX_DEPTH):
        level = [part for whole in level for part in _parts(whole) if type(part) in {list, dict}]
        if not level:
            return
    raise InvalidField("metadata", f"has more than {MAX_DEPTH} lists and objects within one another")


def _parts(whole: Any) -> Iterable[Any]:
    return whole.values() if type(whole) is dict else whole


def is_backend(record: ServiceRecord) -> bool:
    """Whether a service says that it is a backend."""
    return bool(record.metadata.get("type") == BACKEND_TYPE)


def declared_models(record: ServiceRecord) -> dict[str, None]:
    """Ids of the models that a service says it has, each once, in its order; what is no id is left out."""
    models = record.metadata.get("models")
    declared: dict[str, None] = {}
    if isinstance(models, list):
        for id in models:
            if isinstance(id, str) and 1 <= len(id) <= MAX_MODEL_CHARS:
                declared[id] = None
            if len(declared) == MAX_MODELS:
                break
    return declared
