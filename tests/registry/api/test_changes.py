"""`/history` and `/watch`, against a real registry."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

import httpx2
import pytest

from registry import Backend
from registry.api import changes as module
from registry.models import Change
from tests.loops import on_loop
from tests.registry.api.conftest import Served
from tests.registry.api.test_app import mounted
from tests.registry.gateway.stand_ins import Peer, get, world


def rename(served: Served, name: str) -> int:
    """Change a backend; returns the revision of the change."""
    return served.registry.update_backend("a", name=name).revision


@contextmanager
def watching(served: Served, target: str = "/watch", **headers: str) -> Iterator[Iterator[httpx2.ServerSentEvent]]:
    """A stream of changes, with its events."""
    with served.client.stream("GET", target, headers=headers) as response:
        assert response.status_code == 200, response.read()
        assert response.headers["content-type"].startswith("text/event-stream")
        yield iter(httpx2.EventSource(response))


@pytest.fixture
def backend(served: Served) -> int:
    """There is a backend; the revision at which it was added."""
    served.registry.add_backend(Backend(id="a", url="http://a"))
    return served.registry.revision


def test_who_changed_what(served: Served, backend: int) -> None:
    """`/history` tells each change with its revision, its time, who made it, and what it was before and after."""
    changed = rename(served, "new")
    first, second = served.client.get("/history", params={"since": backend - 1}).json()["changes"]
    assert (first["revision"], first["cause"], second["revision"]) == (backend, "AddBackend", changed)
    assert first["by"] == f"attached pid {os.getpid()}" or first["by"]
    (row,) = second["rows"]
    assert (row["table"], row["key"], row["before"]["name"], row["after"]["name"]) == ("backends", "a", "a", "new")


def test_latest_changes(served: Served, backend: int) -> None:
    """Without `since` the latest changes are told, the oldest of them first; `limit` says how many."""
    revisions = [rename(served, str(number)) for number in range(3)]
    assert revisions[0] > backend
    for query, expected in (("?limit=2", revisions[1:]), (f"?since={backend}&limit=2", revisions[:2])):
        told = served.client.get(f"/history{query}").json()["changes"]
        assert [change["revision"] for change in told] == expected
    assert served.client.get(f"/history?since={revisions[-1]}").json() == {"changes": []}


def test_changes_as_they_are_made(served: Served, backend: int) -> None:
    """`/watch` sends each change once, in order, with its revision as the event's id."""
    with watching(served) as events:
        revisions = [rename(served, str(number)) for number in range(3)]
        received = [next(events) for _ in revisions]
    assert [int(event.id) for event in received] == revisions
    told: list[Any] = [event.json() for event in received]
    assert told == served.client.get(f"/history?since={revisions[0] - 1}").json()["changes"]
    assert backend < revisions[0]


def test_stream_goes_on_where_it_ended(served: Served, backend: int) -> None:
    """`since` and `Last-Event-ID` give what was made in the meantime; the latter is what a browser sends by itself."""
    revisions = [rename(served, str(number)) for number in range(3)]
    with watching(served, f"/watch?since={backend}") as events:
        assert [int(next(events).id) for _ in revisions] == revisions
    with watching(served, f"/watch?since={backend}", **{"last-event-id": str(revisions[1])}) as events:
        assert int(next(events).id) == revisions[2]


def test_what_cannot_be_told_is_gone(served: Served, backend: int) -> None:
    """410 for a revision that the history does not reach back to, and for one that there never was."""
    for number in range(60):
        served.registry.update_backend("a", metadata={str(key): f"{number} {key}" * 700 for key in range(100)})
    for path in ("/history", "/watch"):
        for since in (0, backend, served.registry.revision + 1):
            answer = served.client.get(path, params={"since": since})
            assert (answer.status_code, answer.headers["content-type"]) == (410, "application/problem+json")


@pytest.mark.parametrize("target", ["/history?since=-1", "/history?limit=0", "/history?limit=1001", "/watch?since=x"])
def test_limits_of_a_history(served: Served, target: str) -> None:
    """422 for what no revision and no number of changes can be."""
    assert served.client.get(target).status_code == 422
    assert served.client.get("/watch", headers={"last-event-id": "x"}).status_code == 422


class Silent(AsyncIterator[Change]):
    """A watch in which nothing happens."""

    async def __anext__(self) -> Change:
        await asyncio.Event().wait()
        raise AssertionError


@on_loop
async def test_silent_stream_shows_that_it_lives(monkeypatch: pytest.MonkeyPatch) -> None:
    """A comment comes again and again while nothing happens, and the stream ends well when the gateway leaves."""
    monkeypatch.setattr(module, "HEARTBEAT_S", 0.01)
    async with world() as w:
        readable = mounted(w)
        readable.changes = Silent()
        peer = await w.connect()
        peer.send(get("/watch?since=0"))
        await peer.read_head()
        for _ in range(3):
            assert (await peer.read_chunk()).startswith(b":")
        assert await w.gateway.drain(5) == 0


async def watch_in_the_end(peer: Peer) -> None:
    """Ask for a stream until there is room for it."""
    status = ""
    while " 200 " not in status:
        peer.send(get("/watch?since=0"))
        status, fields = await peer.read_head()
        if " 503 " in status:
            await peer.reader.readexactly(int(fields["content-length"]))


@on_loop
async def test_streams_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Streams beyond the limit are refused for now, and one that ends makes room."""
    monkeypatch.setattr(module, "MAX_WATCHES", 1)
    async with world() as w:
        readable = mounted(w)
        readable.changes = Silent()
        first = await w.connect()
        first.send(get("/watch?since=0"))
        await first.read_head()
        await first.read_chunk()
        refused = await w.ask(get("/watch?since=0"))
        assert (refused.status, refused.headers["retry-after"]) == (503, "10")
        first.cut()
        await watch_in_the_end(await w.connect())


@on_loop
async def test_streams_that_come_together_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """A stream has its place before anything is asked for it, so that of two at the same moment only one gets it."""
    monkeypatch.setattr(module, "MAX_WATCHES", 1)
    async with world() as w:
        readable = mounted(w)
        readable.changes = Silent()
        readable.past_allowed = asyncio.Event()
        first, second = [await w.connect() for _ in range(2)]
        for peer in (first, second):
            peer.send(get("/watch?since=0"))
        refused, _ = await asyncio.wait(
            [asyncio.ensure_future(peer.read_head()) for peer in (first, second)], return_when=asyncio.FIRST_COMPLETED
        )
        assert [head.result()[0].split()[1] for head in refused] == ["503"]
        readable.past_allowed.set()


class Flood(AsyncIterator[Change]):
    """A watch in which something long happens all the time."""

    def __init__(self) -> None:
        self.told = 0

    async def __anext__(self) -> Change:
        self.told += 1
        now = datetime.now(UTC)
        return Change(revision=self.told, at=now, session=1, by="", cause="x" * 100_000, rows=())


@on_loop
async def test_who_leaves_without_having_read_makes_room(monkeypatch: pytest.MonkeyPatch) -> None:
    """A stream to a client that reads nothing stands still, and ends with that client."""
    monkeypatch.setattr(module, "MAX_WATCHES", 1)
    async with world() as w:
        readable = mounted(w)
        flood = readable.changes = Flood()
        first = await w.connect()
        first.send(get("/watch?since=0"))
        other = await w.connect()
        told = -1
        while told != flood.told:
            told = flood.told
            for _ in range(50):
                await w.ask_on(other, get("/livez"))
        first.cut()
        await watch_in_the_end(other)


@on_loop
async def test_head_of_a_stream_has_an_end() -> None:
    """HEAD is answered with the head alone, and the connection takes the next request."""
    async with world() as w:
        mounted(w).changes = Silent()
        peer = await w.connect()
        peer.send(get("/watch?since=0", method="HEAD"))
        answer = await peer.read_answer(head_only=True)
        assert (answer.status, answer.headers["content-type"]) == (200, "text/event-stream; charset=utf-8")
        assert (await w.ask_on(peer, get("/livez"))).status == 200
