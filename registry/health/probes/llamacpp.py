"""llama.cpp's server: `/health`, `/v1/models`, and `/props` for what its one model can do."""

from __future__ import annotations

from typing import Any

from registry.health.abilities import tokens
from registry.health.http import Conversation
from registry.health.probes.answers import get_extra, get_health, inner, models_of
from registry.health.probes.openai import entries_of, model_of
from registry.models import Model


async def ask(server: Conversation) -> list[Model]:
    """The models of a llama.cpp server; while it loads one, its `/health` says so."""
    await get_health(server)
    answer, entries = await entries_of(server)
    models = models_of(answer, entries, _model)
    return await with_properties(server, models)


async def with_properties(server: Conversation, models: list[Model]) -> list[Model]:
    """The one model of a llama.cpp server with what `/props` tells of it; several are left as they are."""
    if len(models) != 1:
        return models
    properties = await get_extra(server, "/props")
    told: dict[str, Any] = {"supports_json_mode": True}
    context_length = tokens(inner(properties, "default_generation_settings", "n_ctx"))
    if context_length is not None:
        told["context_length"] = context_length
    vision = inner(properties, "modalities", "vision")
    if isinstance(vision, bool):
        told["supports_vision"] = vision
    tools = _tools(properties)
    if tools is not None:
        told["supports_tools"] = tools
    return [models[0].model_copy(update=told)]


def _model(entry: dict[str, Any]) -> Model | None:
    return model_of(entry, json_mode=True)  # by its grammars, whatever the model


def _tools(properties: Any) -> bool | None:
    for name in ("supports_tools", "supports_tool_calls"):
        said = inner(properties, "chat_template_caps", name)
        if isinstance(said, bool):
            return said
    template = inner(properties, "chat_template")
    return "tools" in template if isinstance(template, str) else None
