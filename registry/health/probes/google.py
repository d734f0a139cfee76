"""Google's Gemini API: `GET /v1beta/models`, which costs nothing, with its own header field."""

from __future__ import annotations

from typing import Any

from registry.gateway.http1.messages import Fields
from registry.health.abilities import make_model
from registry.health.http import Conversation
from registry.health.probes.answers import get, holds, listed, models_of
from registry.models import Model


def key_fields(key: bytes) -> Fields:
    """The header fields that carry a key."""
    return [(b"x-goog-api-key", key)]


async def ask(server: Conversation) -> list[Model]:
    """The models that generate text."""
    answer = await get(server, "/v1beta/models?pageSize=1000")
    entries = listed(answer, "models")
    # Others embed, or make pictures.
    chatting = [
        entry for entry in entries if holds(entry.get("supportedGenerationMethods"), "generateContent") is not False
    ]
    return models_of(answer, chatting, _model)


def _model(entry: dict[str, Any]) -> Model | None:
    name = entry.get("name")
    return make_model(
        name.removeprefix("models/") if isinstance(name, str) else None,
        name=entry.get("displayName"),
        context_length=entry.get("inputTokenLimit"),
        max_output_tokens=entry.get("outputTokenLimit"),
    )
