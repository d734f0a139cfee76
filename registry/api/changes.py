"""`/history` and `/watch`: who changed what, in the past and from now on."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from http import HTTPStatus

from fastapi import APIRouter, Depends, Request
from fastapi.sse import KEEPALIVE_COMMENT, format_sse_event
from pydantic import BaseModel, ConfigDict
from starlette.exceptions import HTTPException
from starlette.responses import StreamingResponse
from starlette.types import Send

from actors.errors import ActorsError
from registry.api.asked import AskedRegistry
from registry.api.documented import problems
from registry.api.parameters import LastEventId, Limit, Since
from registry.errors import CommandInvalid
from registry.models import Change

HEARTBEAT_S = 15.0
"""A stream says at least this often that it lives."""

MAX_WATCHES = 100
"""Most streams of one gateway: each is an unanswered command of its session, of which the data plane needs most."""


class ChangeList(BaseModel):
    """Changes, oldest first."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    changes: list[Change]


class EventStream(StreamingResponse):
    """An answer that goes on, perhaps until the client leaves."""

    media_type = "text/event-stream"

    async def stream_response(self, send: Send) -> None:
        """Send everything, and close what it comes from: also when a client leaves that had stopped reading."""
        events = self.body_iterator
        assert isinstance(events, AsyncGenerator)  # noqa: S101 -- it is made of nothing else
        async with aclosing(events):
            await super().stream_response(send)


class Changes:
    """Tells what was changed.

    Args:
        registry: What is asked.
        leaving: Set when this process takes no new clients any more: all streams end.
    """

    def __init__(self, registry: AskedRegistry, leaving: asyncio.Event) -> None:
        self._registry = registry
        self._leaving = leaving
        self._watches = 0

    def add_to(self, router: APIRouter) -> None:
        """Add the paths."""
        router.add_api_route("/history", self.history, methods=["GET"], summary="List changes", responses=problems(410))
        router.add_api_route(
            "/watch",
            self.watch,
            methods=["GET"],
            summary="Watch changes",
            response_class=EventStream,
            response_description="Server-sent events: the data of each is a change, its id the change's revision.",
            responses=problems(410),
            dependencies=[Depends(self._place)],
        )

    async def history(self, since: Since = None, limit: Limit = 100) -> ChangeList:
        """The changes after a revision, at most `limit`; without `since` the latest ones."""
        return ChangeList.model_construct(changes=await self._past(since, limit))

    async def watch(self, request: Request, since: Since = None, last_event_id: LastEventId = None) -> EventStream:
        """Every change after a revision, in order and without a gap, as it is made; without `since` from now on."""
        if last_event_id is not None:
            since = int(last_event_id)
        if since is None:
            since = (await self._registry.owner_statistics()).revision
        else:
            await self._past(since, 1)  # what cannot be watched is refused before the stream begins
        # An answer to HEAD has no body that could go on.
        events = _only_the_beginning() if request.scope["head_only"] else self._events(since)
        return EventStream(events, headers={"cache-control": "no-store", "x-accel-buffering": "no"})

    async def _place(self) -> AsyncIterator[None]:
        """One of the streams that there may be, until the answer has ended in whatever way."""
        if self._watches >= MAX_WATCHES:
            raise HTTPException(
                HTTPStatus.SERVICE_UNAVAILABLE, f"{MAX_WATCHES} watch here already.", {"Retry-After": "10"}
            )
        self._watches += 1
        try:
            yield
        finally:
            self._watches -= 1

    async def _past(self, since: int | None, limit: int) -> list[Change]:
        try:
            return await self._registry.history(since, limit)
        except CommandInvalid as error:
            # Whoever has seen a later revision than there is has seen it of a registry that was lost.
            raise HTTPException(HTTPStatus.GONE, f"{error}. Read everything, and go on from there.") from None

    async def _events(self, since: int) -> AsyncGenerator[bytes]:
        changes = self._registry.watch(since)
        leaving = asyncio.ensure_future(self._leaving.wait())
        next_one: asyncio.Future[Change] | None = None
        try:
            yield KEEPALIVE_COMMENT
            while not leaving.done():
                next_one = next_one or asyncio.ensure_future(anext(changes))
                done, _ = await asyncio.wait(
                    (next_one, leaving), timeout=HEARTBEAT_S, return_when=asyncio.FIRST_COMPLETED
                )
                if next_one in done:
                    change = next_one.result()
                    next_one = None
                    yield format_sse_event(data_str=change.model_dump_json(), id=str(change.revision))
                elif not done:
                    yield KEEPALIVE_COMMENT
        except ActorsError:
            # The stream ends. Whoever comes back with the last revision is told why.
            return
        finally:
            leaving.cancel()
            if next_one is not None:
                next_one.cancel()


async def _only_the_beginning() -> AsyncGenerator[bytes]:
    yield KEEPALIVE_COMMENT
