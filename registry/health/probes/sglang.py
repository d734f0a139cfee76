"""SGLang: `/v1/models`, `/health`, and `/model_info` for what its model can do.

`/health` of an idle server generates one token, so it sees a stuck GPU too; a busy one answers by what it has done.
"""

from __future__ import annotations

from http import HTTPStatus

from registry.health.findings import NotHealthy, expect_success, read_retry_after
from registry.health.http import Conversation
from registry.health.probes.answers import ABSENT, get_extra, inner, models_of
from registry.health.probes.openai import entries_of
from registry.health.probes.vllm import model
from registry.kinds import BackendStatus
from registry.models import Model


async def ask(server: Conversation) -> list[Model]:
    """The models of an SGLang server."""
    answer, entries = await entries_of(server)
    models = models_of(answer, entries, model)
    await _get_health(server)
    return await with_model_info(server, models)


async def _get_health(server: Conversation) -> None:
    answer = await server.get("/health")
    if answer.status == HTTPStatus.SERVICE_UNAVAILABLE:
        # It lists its models while it warms up, and answers this without a word. One that is stuck takes longer to say
        # so than a probe may.
        raise NotHealthy(
            f"{answer.request} answered 503: it is warming up",
            BackendStatus.WARMING,
            read_retry_after(answer.headers),
        )
    if answer.status not in ABSENT:
        expect_success(answer, has_key=server.has_key)


async def with_model_info(server: Conversation, models: list[Model]) -> list[Model]:
    """The models with what the server tells of the one that it has loaded; the others are adapters of it."""
    told = await get_extra(server, "/model_info") or await get_extra(server, "/get_model_info")
    vision = inner(told, "has_image_understanding")
    if not isinstance(vision, bool):
        return models
    return [one.model_copy(update={"supports_vision": vision}) for one in models]
