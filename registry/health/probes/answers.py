"""What all types have in common: answers are JSON, made by anybody, and may be anything."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from http import HTTPStatus
from typing import Any

import msgspec

from registry.health.findings import NotHealthy, expect_success
from registry.health.http import Answer, Conversation, NoAnswer
from registry.models import Model
from registry.state.records import MAX_MODELS

ABSENT = (HTTPStatus.NOT_FOUND, HTTPStatus.METHOD_NOT_ALLOWED, HTTPStatus.NOT_IMPLEMENTED)
"""How servers say that they do not have a page."""


async def get(server: Conversation, path: str) -> Answer:
    """A page that must be there; raises `NotHealthy` if its status is not 200."""
    answer = await server.get(path)
    expect_success(answer, has_key=server.has_key)
    return answer


async def get_health(server: Conversation) -> None:
    """Ask a server's `/health`; raises `NotHealthy` unless it is well, or has no such page."""
    answer = await server.get("/health")
    if answer.status not in ABSENT:
        expect_success(answer, has_key=server.has_key)


async def get_extra(server: Conversation, path: str) -> Any:
    """The JSON of a page that only some versions have; None if it cannot be had."""
    try:
        answer = await server.get(path)
    except NoAnswer:
        return None
    return decode(answer.body) if answer.status == HTTPStatus.OK else None


def decode(body: bytes) -> Any:
    """The JSON value of a body; None if it is none."""
    try:
        return msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None


def inner(value: Any, *path: str) -> Any:
    """What stands at a path in nested objects; None if it is not there.

    >>> inner({"a": {"b": 1}}, "a", "b"), inner({"a": []}, "a", "b")
    (1, None)
    """
    for name in path:
        if not isinstance(value, dict):
            return None
        value = value.get(name)
    return value


def holds(value: Any, *words: str) -> bool | None:
    """Whether a list holds any of some words, or an object says true to any; None if it is neither.

    >>> holds(["tools"], "tools"), holds({"vision": False}, "vision"), holds("tools", "tools")
    (True, False, None)
    """
    if isinstance(value, list):
        return any(word in value for word in words)
    if isinstance(value, dict):
        said = [value[word] for word in words if isinstance(value.get(word), bool)]
        return any(said) if said else None
    return None


def listed(answer: Answer, key: str) -> list[dict[str, Any]]:
    """The objects in a list of an answer, of no more entries than a backend may have models.

    Raises:
        NotHealthy: There is no such list.
    """
    entries = inner(decode(answer.body), key)
    if isinstance(entries, list):
        # Whoever sends more of them, usable or not, must not hold up the probes of all the others.
        objects = [entry for entry in entries[:MAX_MODELS] if isinstance(entry, dict)]
        if objects or not entries:
            return objects
    raise no_list(answer)


def models_of(answer: Answer, entries: Iterable[Any], make: Callable[[Any], Model | None]) -> list[Model]:
    """The models that entries stand for, in their order, each once.

    Raises:
        NotHealthy: There are entries, and none stands for a model.
    """
    models: dict[str, Model] = {}
    any_entry = False
    for entry in entries:
        any_entry = True
        model = make(entry)
        if model is not None:
            models.setdefault(model.id, model)
    if any_entry and not models:
        raise no_list(answer)
    return list(models.values())


def no_list(answer: Answer) -> NotHealthy:
    """Says that an answer has no list of models."""
    return NotHealthy(f"{answer.request} answered something that is no list of models")
