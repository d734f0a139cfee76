"""Who is told a result instead of awaiting it, and does something there and then."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import msgspec

from actors import frames
from actors.aio import AsyncClient
from actors.errors import OutcomeUnknown, SystemStopped
from actors.frames import Answer
from tests.actors.counter import Get, Increment
from tests.actors.faces import SilentOwner
from tests.actors.owners import decode, encode
from tests.loops import on_loop

INCREMENT = encode(Increment("a"))
NEVER_S = 1_000.0


@asynccontextmanager
async def client_of(silent: SilentOwner) -> AsyncIterator[AsyncClient]:
    """A client that its owner has greeted."""
    client = AsyncClient(silent.workers_end)
    while not client.session.has_room or client.session.window == 1:  # noqa: ASYNC110 - it has no event for that
        await asyncio.sleep(0)
    yield client
    client.close()


@on_loop
async def test_deadline_of_what_is_asked_when_another_has_passed(silent: SilentOwner) -> None:
    """It is kept, however late the others are that still wait."""
    told: list[Any] = []
    done = asyncio.Event()
    async with client_of(silent) as client:

        def again(outcome: Any) -> None:
            told.append(outcome)
            if len(told) == 1:
                client.ask_then(INCREMENT, again, timeout=0.01)
            else:
                done.set()

        client.ask_then(INCREMENT, lambda _: None, timeout=NEVER_S)
        client.ask_then(INCREMENT, again, timeout=0.01)
        await done.wait()
    assert [type(outcome) for outcome in told] == [OutcomeUnknown] * 2


@on_loop
async def test_client_that_is_closed_when_a_deadline_has_passed(silent: SilentOwner) -> None:
    """The others whose deadline has passed, too, are told once: that the session is over."""
    told: list[tuple[str, Any]] = []
    async with client_of(silent) as client:

        def close(outcome: Any) -> None:
            told.append(("first", outcome))
            client.close()

        client.ask_then(INCREMENT, close, timeout=0.0)
        client.ask_then(INCREMENT, lambda outcome: told.append(("second", outcome)), timeout=0.0)
        while len(told) < 2:  # noqa: ASYNC110 - it is told, not awaited
            await asyncio.sleep(0)
        client._expire()
    assert [(who, type(outcome)) for who, outcome in told] == [("first", OutcomeUnknown), ("second", SystemStopped)]


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
