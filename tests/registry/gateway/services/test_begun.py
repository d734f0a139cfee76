"""Heartbeats and registrations, which are answered without a task of their own: like everything else otherwise."""

from __future__ import annotations

import asyncio

import pytest

from registry.errors import CallTimeout
from registry.gateway.http1.limits import ServerLimits
from tests.loops import on_loop
from tests.registry.gateway.services.sent import register, request
from tests.registry.gateway.stand_ins import Answer, Peer, World, get, turns_until, world

BEAT = request("POST", "/services/a/heartbeat")
UNKNOWN = request("POST", "/services/nobody/heartbeat")
LIST = get("/services")


def told_of(answer: Answer) -> str:
    """What an answer says, but for times."""
    said = answer.json()
    return f"{answer.status} {said.get('message') or said.get('error') or said['total']}"


async def read(peer: Peer, count: int) -> list[str]:
    """The next answers."""
    return [told_of(await peer.read_answer()) for _ in range(count)]


HEARD = "200 Heartbeat received"
REGISTERED = "201 Service 'a' registered successfully"


@on_loop
async def test_answers_come_in_the_order_of_the_requests() -> None:
    """Whatever is sent without waiting, and whoever answers it."""
    async with world() as w:
        peer = await w.connect()
        peer.send(BEAT, register(), BEAT, LIST, register(name=1), UNKNOWN, BEAT, request("DELETE", "/services/a"), BEAT)
        assert await read(peer, 9) == [
            "404 Service 'a' not found",
            REGISTERED,
            HEARD,
            "200 1",
            "400 name must be a string of 1 to 1,024 characters.",
            "404 Service 'nobody' not found",
            HEARD,
            "200 Service 'a' unregistered successfully",
            "404 Service 'a' not found",
        ]
        assert w.registry.errors == [404, 400, 404, 404]


@on_loop
async def test_nothing_overtakes_what_came_before() -> None:
    """Also not while that is only about to be answered, on a new connection or an old one."""
    async with world() as w:
        await w.ask(register())
        peer = await w.connect()
        for _ in range(2):
            peer.send(LIST, BEAT, LIST)
            assert await read(peer, 3) == ["200 1", HEARD, "200 1"]


@on_loop
async def test_each_client_has_its_own_answer() -> None:
    """Those that come together go to the registry together, and each is answered for itself."""
    async with world() as w:
        await w.ask(register())
        w.registry.may_answer.clear()
        sent = [BEAT, UNKNOWN, register(), register(name="b"), BEAT]
        peers = [await w.connect() for _ in sent]
        for peer, said in zip(peers, sent, strict=True):
            peer.send(said)
        await turns_until(lambda: w.registry.messages == 3)
        w.registry.may_answer.set()
        answers = [told_of(await peer.read_answer()) for peer in peers]
        assert answers == [
            HEARD,
            "404 Service 'nobody' not found",
            REGISTERED,
            REGISTERED.replace("'a'", "'b'"),
            HEARD,
        ]


@pytest.mark.parametrize("sent", [BEAT, register()], ids=["heartbeat", "registration"])
@on_loop
async def test_failure_is_told_to_each(sent: bytes) -> None:
    """No answer of the registry in time is 503 for whoever waits, and the next request is a new one."""
    async with world() as w:
        w.registry.services_failure = CallTimeout("no answer")
        peers = [await w.connect() for _ in range(3)]
        for peer in peers:
            peer.send(sent)
        assert [(await peer.read_answer()).status for peer in peers] == [503] * 3
        w.registry.services_failure = None
        assert await read_after(w, peers[0]) == REGISTERED


async def read_after(w: World, peer: Peer) -> str:
    """What a registration on a connection is answered."""
    return told_of(await w.ask_on(peer, register()))


@pytest.mark.parametrize("reset", [False, True])
@pytest.mark.parametrize("sent", [BEAT, register()], ids=["heartbeat", "registration"])
@on_loop
async def test_client_that_leaves_holds_nobody_up(sent: bytes, *, reset: bool) -> None:
    """What it has sent is done, and whoever was gathered with it is answered."""
    async with world() as w:
        await w.ask(register())
        w.registry.may_answer.clear()
        leaver, other = await w.connect(), await w.connect()
        leaver.send(sent, sent)
        other.send(sent)
        await turns_until(lambda: w.registry.messages == 2)
        leaver.cut() if reset else await leaver.close()
        await turns_until(lambda: w.gateway.connections == 2)
        w.registry.may_answer.set()
        assert (await other.read_answer()).status < 300
        assert told_of(await w.ask_on(other, BEAT)) == HEARD


@on_loop
async def test_drain_lets_a_heartbeat_finish() -> None:
    """It is answered with `Connection: close`, and nothing is cut off."""
    async with world() as w:
        await w.ask(register())
        w.registry.may_answer.clear()
        peer = await w.connect()
        peer.send(BEAT)
        await turns_until(lambda: w.registry.messages == 2)
        draining = asyncio.create_task(w.gateway.drain(20))
        await turns_until(w.gateway.leaving.is_set)
        w.registry.may_answer.set()
        answer = await peer.read_answer()
        assert (told_of(answer), answer.headers["connection"]) == (HEARD, "close")
        assert await peer.ended()
        assert await draining == 0


@on_loop
async def test_nothing_is_done_after_the_last_answer() -> None:
    """Also not what comes in the very moment of that answer, while the gateway leaves."""
    async with world() as w:
        peer = await w.connect()
        assert told_of(await w.ask_on(peer, register())) == REGISTERED
        (client,) = w.gateway._listener._connections
        w.registry.may_answer.clear()
        peer.send(BEAT)
        await turns_until(lambda: w.registry.messages == 2)
        draining = asyncio.create_task(w.gateway.drain(20))
        await turns_until(w.gateway.leaving.is_set)
        w.registry.may_answer.set()
        client.data_received(register(name="b"))
        assert (await peer.read_answer()).headers["connection"] == "close"
        assert await peer.ended()
        await peer.close()
        assert await draining == 0
        assert w.registry.known.keys() == {"a"}


@pytest.mark.parametrize("field", ["Connection: close", "Expect: 100-continue", "X-Request-Id: mine"])
@on_loop
async def test_fields_mean_what_they_always_mean(field: str) -> None:
    """A connection ends where that was asked for, and a request has the name that its client gave it."""
    async with world() as w:
        await w.ask(register())
        peer = await w.connect()
        for _ in range(2):
            answer = await w.ask_on(peer, request("POST", "/services/a/heartbeat", b"", field))
            assert told_of(answer) == HEARD
            assert (answer.headers["x-request-id"] == "mine") == (field == "X-Request-Id: mine")
            if field == "Connection: close":
                assert answer.headers["connection"] == "close"
                assert await peer.ended()
                break


@on_loop
async def test_client_that_does_not_read_is_not_listened_to() -> None:
    """Answers that nobody reads do not pile up: nothing more is begun until they are read."""
    async with world() as w:
        peer = await w.connect()
        assert told_of(await w.ask_on(peer, register())) == REGISTERED
        (client,) = w.gateway._listener._connections
        client.pause_writing()  # as the event loop does when too much is unread
        peer.send(BEAT * 3)
        await turns_until(lambda: len(client._queue) == 3)
        assert len(w.registry.changes()) == 1
        client.resume_writing()
        peer.send(BEAT)
        assert await read(peer, 4) == [HEARD] * 4


@on_loop
async def test_client_has_its_time_to_read() -> None:
    """When it reads too slowly, that its answers are all under way shortens nothing."""
    async with world(server=ServerLimits(idle_timeout_s=60, stalled_timeout_s=3600)) as w:
        peer = await w.connect()
        assert told_of(await w.ask_on(peer, register())) == REGISTERED
        (client,) = w.gateway._listener._connections
        w.registry.may_answer.clear()
        peer.send(BEAT)
        await turns_until(lambda: w.registry.messages == 2)
        client.pause_writing()  # as the event loop does when too much is unread
        until = client.deadline
        w.registry.may_answer.set()
        assert await read(peer, 1) == [HEARD]
        assert client.deadline == until
        client.resume_writing()
        assert client.deadline < until


@pytest.mark.parametrize("path", ["/services/a/heartbeat", "/services"])
@on_loop
async def test_who_may_not_is_refused_each_time(path: str) -> None:
    """A web page of another site and a wrong key are refused also when the same request comes again."""
    body = b"" if path.endswith("heartbeat") else register().partition(b"\r\n\r\n")[2]
    async with world(admin_key="secret-secret-secret") as w:
        peer = await w.connect()
        for fields, status in (
            (("Origin: https://evil.example",), 403),
            ((), 401),
            (("Authorization: Bearer wrong",), 401),
            (("Authorization: Bearer secret-secret-secret",), 404 if not body else 201),
        ):
            for _ in range(3):
                assert (await w.ask_on(peer, request("POST", path, body, *fields))).status == status
