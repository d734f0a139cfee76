"""A server of which only its API is known: `GET /v1/models`, and what its answer tells of the software."""

from __future__ import annotations

from registry.health.http import Conversation
from registry.health.probes import llamacpp, sglang
from registry.health.probes.answers import models_of
from registry.health.probes.openai import entries_of, model_of
from registry.health.probes.vllm import model
from registry.models import Model


async def ask(server: Conversation) -> list[Model]:
    """The models of a server with OpenAI's API; of some software it is known where it tells more."""
    answer, entries = await entries_of(server)
    owners = {entry.get("owned_by") for entry in entries if isinstance(entry.get("owned_by"), str)}
    if owners == {"llamacpp"}:
        return await llamacpp.with_properties(server, models_of(answer, entries, model_of))
    if owners == {"sglang"}:
        return await sglang.with_model_info(server, models_of(answer, entries, model))
    if owners == {"vllm"}:
        return models_of(answer, entries, model)
    return models_of(answer, entries, model_of)
