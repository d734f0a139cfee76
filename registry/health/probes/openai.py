"""`GET /v1/models`, as OpenAI and every server with its API answers it.

Its entries need nothing but an `id`; many servers and resellers add what a model can do, each under names of its own.
"""

from __future__ import annotations

from typing import Any

from registry.health.abilities import make_model, tokens
from registry.health.http import Answer, Conversation
from registry.health.probes.answers import get, holds, inner, listed, models_of
from registry.models import Model

PATH = "/v1/models"

_CONTEXT_LENGTHS = (
    ("max_model_len",),  # vLLM, SGLang
    ("meta", "n_ctx"),  # llama.cpp: what it was started with
    ("context_length",),  # exo, OpenRouter, Together
    ("context_window",),  # Groq
    ("max_context_length",),  # Mistral, LM Studio
    ("max_input_tokens",),
    ("meta", "n_ctx_train"),  # llama.cpp: what the model was trained for
)


async def ask(server: Conversation) -> list[Model]:
    """The models of a server with OpenAI's API."""
    answer, entries = await entries_of(server)
    return models_of(answer, entries, model_of)


async def entries_of(server: Conversation) -> tuple[Answer, list[dict[str, Any]]]:
    """The answer, and the entries in it."""
    answer = await get(server, PATH)
    return answer, listed(answer, "data")


def model_of(entry: dict[str, Any], *, json_mode: bool | None = None) -> Model | None:
    """The model that an entry stands for.

    Args:
        entry: The entry.
        json_mode: Whether the server can hold any model to JSON, if that is known.
    """
    told = (tokens(inner(entry, *path)) for path in _CONTEXT_LENGTHS)
    capabilities, parameters = entry.get("capabilities"), entry.get("supported_parameters")
    vision = holds(inner(entry, "architecture", "input_modalities"), "image")
    tools = holds(parameters, "tools")
    if json_mode is None:
        json_mode = holds(parameters, "response_format", "structured_outputs")
    return make_model(
        entry.get("id"),
        name=entry.get("name"),
        context_length=next((length for length in told if length), None),
        max_output_tokens=inner(entry, "top_provider", "max_completion_tokens"),
        vision=_can(capabilities, "vision", "multimodal") if vision is None else vision,
        tools=_can(capabilities, "tools", "tool_use", "function_calling") if tools is None else tools,
        json_mode=json_mode,
    )


def _can(capabilities: Any, *words: str) -> bool | None:
    """Whether capabilities name one of some words; a list that lacks them says nothing, for many are short."""
    said = holds(capabilities, *words)
    return said if said or isinstance(capabilities, dict) else None
