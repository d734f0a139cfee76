"""LM Studio: its own lists of models, which tell more than `/v1/models`; which of them is there depends on its version.

It answers 200 with an error in JSON to what it does not know, so what counts is whether there is a list.
"""

from __future__ import annotations

from typing import Any

from registry.health.abilities import make_model, tokens
from registry.health.findings import NotHealthy, expect_success
from registry.health.http import Conversation
from registry.health.probes import openai
from registry.health.probes.answers import ABSENT, holds, inner, listed, models_of
from registry.models import Model


async def ask(server: Conversation) -> list[Model]:
    """The models of an LM Studio server."""
    for path, key, make in (("/api/v0/models", "data", _model_v0), ("/api/v1/models", "models", _model_v1)):
        answer = await server.get(path)
        if answer.status in ABSENT:
            continue
        expect_success(answer, has_key=server.has_key)
        try:
            return models_of(answer, listed(answer, key), make)
        except NotHealthy:
            continue
    return await openai.ask(server)


def _model_v0(entry: dict[str, Any]) -> Model | None:
    return make_model(
        entry.get("id"),
        context_length=tokens(entry.get("loaded_context_length")) or entry.get("max_context_length"),
        vision=_is(entry.get("type"), "vlm"),
        tools=holds(entry.get("capabilities"), "tool_use"),
        json_mode=True,
    )


def _model_v1(entry: dict[str, Any]) -> Model | None:
    instances = entry.get("loaded_instances")
    loaded = instances[0] if isinstance(instances, list) and instances else None
    return make_model(
        entry.get("key"),
        name=entry.get("display_name"),
        context_length=tokens(inner(loaded, "config", "context_length")) or entry.get("max_context_length"),
        vision=holds(entry.get("capabilities"), "vision"),
        tools=holds(entry.get("capabilities"), "trained_for_tool_use"),
        json_mode=True,
    )


def _is(type: Any, wanted: str) -> bool | None:
    return type == wanted if isinstance(type, str) else None
