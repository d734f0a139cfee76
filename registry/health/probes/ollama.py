"""Ollama: `/api/tags`, and `/api/show` once for each model that was not seen before."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Iterable
from http import HTTPStatus
from typing import Any, NamedTuple

import msgspec

from registry.health.abilities import make_model, tokens
from registry.health.http import Conversation, NoAnswer
from registry.health.probes.answers import decode, get, holds, inner, listed, models_of
from registry.models import Model

AT_ONCE = 4
"""Models of one server that are asked about at the same time."""

MAX_KNOWN = 20_000
"""Models of all servers of which it is known what they can do."""


class Abilities(NamedTuple):
    """What `/api/show` tells of a model; None where it does not."""

    context_length: int | None = None
    vision: bool | None = None
    tools: bool | None = None


class Ollama:
    """Asks Ollama servers, and remembers what their models can do.

    Args:
        most: How many models are remembered.
    """

    def __init__(self, most: int = MAX_KNOWN) -> None:
        self._most = most
        self._known: OrderedDict[tuple[str, str, str], Abilities] = OrderedDict()

    async def ask(self, server: Conversation) -> list[Model]:
        """The models of an Ollama server."""
        answer = await get(server, "/api/tags")
        entries = listed(answer, "models")
        versions = {_name(entry): str(entry.get("digest")) for entry in entries if _name(entry)}
        abilities = await self.abilities(server, versions.items())
        return models_of(answer, entries, lambda entry: _model(_name(entry), abilities))

    async def abilities(self, server: Conversation, versions: Iterable[tuple[str, str]]) -> dict[str, Abilities]:
        """What models can do, as far as the server tells it in time.

        Args:
            server: The server.
            versions: Their names, and what changes when a model of that name becomes another.
        """
        # A server's word counts for itself only: another one may say something else of what it calls the same.
        keys = [(server.origin, name, version) for name, version in versions]
        unknown = [key for key in keys if key not in self._known]
        waiting = iter(unknown)

        async def ask_on() -> None:
            for key in waiting:
                if server.is_over:
                    return
                told = await _show(server, key[1])
                if told is not None:
                    self._known[key] = told

        await asyncio.gather(*(ask_on() for _ in range(min(AT_ONCE, len(unknown)))))
        found = {}
        for key in keys:
            if key in self._known:
                self._known.move_to_end(key)
                found[key[1]] = self._known[key]
        while len(self._known) > self._most:
            self._known.popitem(last=False)
        return found


async def _show(server: Conversation, name: str) -> Abilities | None:
    """What a server tells of a model; None if it does not now, and is to be asked again."""
    # Old versions know it as `name`.
    content = msgspec.json.encode({"model": name, "name": name})
    try:
        answer = await server.post("/api/show", content)
    except NoAnswer:
        return None
    told = decode(answer.body)
    if answer.status != HTTPStatus.OK or not isinstance(told, dict):
        return None
    capabilities = told.get("capabilities")
    facts = inner(told, "model_info")
    lengths = facts.items() if isinstance(facts, dict) else ()
    return Abilities(
        next((tokens(value) for key, value in lengths if key.endswith(".context_length")), None),
        holds(capabilities, "vision"),
        holds(capabilities, "tools"),
    )


def _name(entry: dict[str, Any]) -> str:
    name = entry.get("name") or entry.get("model")
    return name if isinstance(name, str) else ""


def _model(name: str, abilities: dict[str, Abilities]) -> Model | None:
    told = abilities.get(name, Abilities())
    # It can hold any model to JSON.
    return make_model(name, context_length=told.context_length, vision=told.vision, tools=told.tools, json_mode=True)
