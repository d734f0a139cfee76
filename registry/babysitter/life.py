"""One life of an AI server: waiting until it is ready, and looking after it from then on."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Any

from registry.babysitter.asking import Answer, Asker, NotAnswering
from registry.babysitter.settings import Settings
from registry.babysitter.standing import Phase, Standing

_FIRST_LOOK_S = 0.1
_LONGEST_LOOK_S = 1.0
"""Time between two looks at a server that does not answer; before it is ready it doubles from the first to this."""

DEAF_S = 5.0
"""A server that was ready, and at whose port nobody listens for so long, has ended behind its command's back."""

_LISTED = 5

_PASSING = frozenset({"created", "permission"})
"""What llama.cpp, vLLM and SGLang make anew for each answer: nothing that a model is known by."""

logger = logging.getLogger(__name__)


class Life:
    """Looks after a server whose process was just started.

    Args:
        settings: What the babysitter was told.
        asker: Asks this life.
        standing: Where it is written down how it stands.
        changed: Called after each look that may have changed it.
    """

    def __init__(
        self, settings: Settings, asker: Asker, standing: Standing, changed: Callable[[], Awaitable[None]]
    ) -> None:
        self._settings = settings
        self._asker = asker
        self._standing = standing
        self._changed = changed
        self._began_s = self._answered_at_s = time.monotonic()
        self._ready_at_s: float | None = None
        self._heard_at_s = self._began_s
        self._why = "it was not asked"

    @property
    def answered_s(self) -> float:
        """For how long it has answered, in seconds."""
        return 0.0 if self._ready_at_s is None else self._answered_at_s - self._ready_at_s

    async def watch(self) -> str:
        """Look after it until it must be ended; returns why, as the rest of a sentence about it."""
        try:
            async with asyncio.timeout(self._settings.start_timeout_s):
                await self._until_ready()
        except TimeoutError:
            return f"was not ready within {self._settings.start_timeout_s:g} s: {self._why}"
        while True:
            interval_s = self._settings.check_interval_s
            await asyncio.sleep(interval_s if self._standing.healthy else min(_LONGEST_LOOK_S, interval_s))
            try:
                self._answered(await self._asker.ask())
            except NotAnswering as error:
                self._silent(error)
                if (failure := self._too_long(error)) is not None:
                    return failure
            await self._changed()

    async def _until_ready(self) -> None:
        wait_s = _FIRST_LOOK_S
        while True:
            try:
                answer = await self._asker.ask()
                break
            except NotAnswering as error:
                self._why = str(error)
            await asyncio.sleep(wait_s)
            wait_s = min(_LONGEST_LOOK_S, 2 * wait_s)
        self._ready_at_s = time.monotonic()
        self._standing.models = None
        self._standing.ready_since = datetime.now(UTC).isoformat()
        self._standing.was_ready = True
        self._answered(answer)
        logger.info(
            "%s is ready after %.1f s, %s",
            self._settings.server_name, self._ready_at_s - self._began_s, self._models_in_words(),
        )  # fmt: skip
        await self._changed()

    def _answered(self, answer: Answer) -> None:
        standing = self._standing
        self._answered_at_s = self._heard_at_s = time.monotonic()
        if standing.phase is Phase.UNRESPONSIVE:
            logger.info("%s answers again", self._settings.server_name)
        standing.phase = Phase.RUNNING
        # A list that cannot be read says nothing of the models that were there.
        if answer.models is not None and not _same(answer.models, standing.models):
            news = standing.models is not None
            standing.models = answer.models
            if news:
                logger.info("%s has other models now, %s", self._settings.server_name, self._models_in_words())

    def _silent(self, error: NotAnswering) -> None:
        if self._standing.phase is Phase.RUNNING:
            logger.warning("%s does not answer: %s", self._settings.server_name, error)
        self._standing.phase = Phase.UNRESPONSIVE

    def _too_long(self, error: NotAnswering) -> str | None:
        """Whether it has been silent for too long; why it must be ended then."""
        now_s = time.monotonic()
        if not error.nobody:
            self._heard_at_s = now_s
        hang_s = self._settings.hang_timeout_s
        for since_s, most_s in ((self._answered_at_s, hang_s), (self._heard_at_s, min(DEAF_S, hang_s))):
            if now_s - since_s >= most_s:
                return f"did not answer for {now_s - since_s:.1f} s: {error}"
        return None

    def _models_in_words(self) -> str:
        models = self._standing.models
        if models is None:
            return "but does not say its models"
        names = ", ".join(repr(model["id"]) for model in models[:_LISTED])
        more = f" and {len(models) - _LISTED} more" if len(models) > _LISTED else ""
        return f"models: {names or 'none'}{more}"


def _same(listed: tuple[dict[str, Any], ...], known: tuple[dict[str, Any], ...] | None) -> bool:
    """Whether a list of models says nothing new."""
    return known is not None and _lasting(listed) == _lasting(known)


def _lasting(models: tuple[dict[str, Any], ...]) -> list[dict[str, Any]]:
    return [{key: value for key, value in model.items() if key not in _PASSING} for model in models]
