"""Anthropic: `GET /v1/models`, which costs nothing, with its own header fields."""

from __future__ import annotations

from typing import Any

from registry.gateway.http1.messages import Fields
from registry.health.abilities import make_model
from registry.health.http import Conversation
from registry.health.probes.answers import get, inner, listed, models_of
from registry.models import Model


def key_fields(key: bytes) -> Fields:
    """The header fields that carry a key."""
    return [(b"x-api-key", key), (b"anthropic-version", b"2023-06-01")]


async def ask(server: Conversation) -> list[Model]:
    """The models that the key may use."""
    answer = await get(server, "/v1/models?limit=1000")
    return models_of(answer, listed(answer, "data"), _model)


def _model(entry: dict[str, Any]) -> Model | None:
    vision = inner(entry, "capabilities", "image_input", "supported")
    json_mode = inner(entry, "capabilities", "structured_outputs", "supported")
    return make_model(
        entry.get("id"),
        name=entry.get("display_name"),
        context_length=entry.get("max_input_tokens"),
        max_output_tokens=entry.get("max_tokens"),
        vision=vision if isinstance(vision, bool) else None,
        tools=True,
        json_mode=json_mode if isinstance(json_mode, bool) else None,
    )
