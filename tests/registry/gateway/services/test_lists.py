"""Lists of services: which, as of when, and how long ones are sent."""

from __future__ import annotations

import pytest

from tests.loops import on_loop
from tests.registry.gateway.services.sent import register, request
from tests.registry.gateway.stand_ins import get, turns_until, world


@pytest.mark.parametrize(
    ("query", "names"),
    [
        ("", "abc"),
        ("status=running", "ac"),
        ("status=run%6Eing&healthy=true", "a"),
        ("healthy=TRUE", "a"),
        ("healthy=yes", "bc"),
        ("healthy=false&status=running", "c"),
        ("status=&healthy=", "abc"),
        ("status=on+hold%2F2", "b"),
        ("status=running&status=x", "ac"),
        ("status=&status=x", "abc"),
        ("Status=x&weight=3&=&healthy", "abc"),
        ("status=nosuch", ""),
    ],
)
@on_loop
async def test_choice_of_a_list(query: str, names: str) -> None:
    """A list is chosen by status and health; an empty value chooses nothing, and of several the first one counts."""
    async with world() as w:
        await w.ask(register(name="a"))
        await w.ask(register(name="b", status="on hold/2"))
        await w.ask(register(name="c"))
        w.registry.beat("c", age_s=121)
        found = (await w.ask(get(f"/services?{query}"))).json()
        assert [service["name"] for service in found["services"]] == list(names)
        assert found["total"] == len(names)


@on_loop
async def test_list_shows_what_was_there_when_it_was_asked_for() -> None:
    """A list is read after the copy was brought up to date, whatever was shown before."""
    async with world() as w:
        for number in range(3):
            await w.ask(register(port=8000 + number))
            w.registry.known["b"] = w.registry.known["a"]
            w.registry.beat("b")
            listed = (await w.ask(get("/services"))).json()["services"]
            assert [service["port"] for service in listed] == [8000 + number] * 2
            heard = listed[0]["last_heartbeat"]
            await w.ask(request("POST", "/services/a/heartbeat"))
            again = (await w.ask(get("/services"))).json()["services"]
            assert again[0]["last_heartbeat"] == w.registry.heard["a"].wall_s > heard
            w.registry.beat("a", age_s=120)
            states = [service["is_healthy"] for service in (await w.ask(get("/services"))).json()["services"]]
            assert states == [False, True]
            await w.ask(request("DELETE", "/services/b"))


@on_loop
async def test_service_without_a_heartbeat_yet() -> None:
    """One whose first heartbeat the copy does not have yet was registered after the list was asked for."""
    async with world() as w:
        await w.ask(register())
        w.registry.heard.clear()
        assert (await w.ask(get("/services"))).json()["services"] == []
        assert (await w.ask(get("/stats"))).json()["total_services"] == 0


@on_loop
async def test_list_in_parts() -> None:
    """A list that is longer than what goes out at once is whole all the same, and so is its HEAD."""
    async with world() as w:
        for number in range(40):
            await w.ask(register(name=f"s{number}", metadata={"pad": "é" * 20_000}))
        peer = await w.connect()
        answer = await w.ask_on(peer, get("/services"))
        assert [service["name"] for service in answer.json()["services"]] == [f"s{number}" for number in range(40)]
        assert int(answer.headers["content-length"]) == len(answer.received) > 1_000_000
        head = await w.ask_on(peer, get("/services", method="HEAD"))
        assert head.headers["content-length"] == answer.headers["content-length"]
        assert (await w.ask_on(peer, get("/health"))).json()["registered_services"] == 40


@on_loop
async def test_slow_reader_holds_nobody_up() -> None:
    """Others are answered while one reads a long list slowly; little is held for it, and it gets what it asked for."""
    async with world() as w:
        for number in range(40):
            await w.ask(register(name=f"s{number}", metadata={"pad": "x" * 500_000}))
        slow, quick = await w.connect(), await w.connect()
        slow.send(get("/services"))
        await turns_until(lambda: w.registry.calls[-1][0] == "sync")
        unsent = [one._transport.get_write_buffer_size() for one in w.gateway._listener._connections]
        assert 0 < max(unsent) < 2_000_000
        for _ in range(10):
            assert (await w.ask_on(quick, request("POST", "/services/s39/heartbeat"))).status == 200
        w.registry.known.clear()
        answer = await slow.read_answer()
        assert len(answer.json()["services"]) == 40
