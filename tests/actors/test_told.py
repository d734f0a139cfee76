"""Who is told a result instead of awaiting it, and does something there and then."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import msgspec

from actors import frames
from actors.aio import AsyncClient
from actors.errors import SystemStopped
from actors.frames import Answer
from tests.actors.counter import Get, Increment
from tests.actors.faces import SilentOwner
from tests.actors.owners import decode, encode
from tests.loops import on_loop

INCREMENT = encode(Increment("a"))


@asynccontextmanager
async def client_of(silent: SilentOwner) -> AsyncIterator[AsyncClient]:
    """A client that its owner has greeted."""
    client = AsyncClient(silent.workers_end)
    while client.session.window == 1:  # noqa: ASYNC110 - it has no event for that
        await asyncio.sleep(0)
    yield client
    client.close()


@on_loop
async def test_mistake_of_who_is_told(silent: SilentOwner) -> None:
    """The others that are answered by the same message are told all the same, and the event loop hears of it."""
    told: list[Any] = []
    mistakes: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: mistakes.append(context))
    async with client_of(silent) as client:

        def fail(outcome: Any) -> None:
            raise RuntimeError(outcome)

        client.ask_then(INCREMENT, fail)
        client.ask_then(INCREMENT, told.append)
        awaited = asyncio.create_task(client.ask(encode(Get("a"))))
        asked: list[int] = []
        while len(asked) < 3:
            asked += [ask.number for ask in silent.asked()]
            await asyncio.sleep(0)
        answers = [Answer(number, msgspec.Raw(encode(number)), None, 1) for number in asked]
        silent.end.post(frames.encode(answers))
        assert decode(await awaited) == asked[2]
    assert [decode(outcome) for outcome in told] == asked[1:2]
    assert [type(context["exception"]) for context in mistakes] == [RuntimeError]


@on_loop
async def test_who_never_gives_up(silent: SilentOwner) -> None:
    """Whoever asks again at each error may do so any number of times after the end of the session."""
    told: list[Any] = []
    done = asyncio.Event()
    async with client_of(silent) as client:
        client.close()

        def again(outcome: Any) -> None:
            told.append(outcome)
            if len(told) < 5_000:
                client.ask_then(INCREMENT, again)
            else:
                done.set()

        again(None)
        await done.wait()
    assert {type(outcome) for outcome in told[1:]} == {SystemStopped}
