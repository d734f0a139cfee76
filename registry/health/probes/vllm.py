"""vLLM: `/v1/models` with `max_model_len`, and `/health`, which fails when its engine is dead."""

from __future__ import annotations

from typing import Any

from registry.health.http import Conversation
from registry.health.probes.answers import get_health, models_of
from registry.health.probes.openai import entries_of, model_of
from registry.models import Model


async def ask(server: Conversation) -> list[Model]:
    """The models of a vLLM server."""
    # The list alone would stay good when the engine behind it has died.
    await get_health(server)
    answer, entries = await entries_of(server)
    return models_of(answer, entries, model)


def model(entry: dict[str, Any]) -> Model | None:
    """The model that an entry stands for."""
    return model_of(entry, json_mode=True)  # by guided decoding, whatever the model
