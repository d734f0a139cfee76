"""Where a gateway connects to, and where not."""

from __future__ import annotations

import asyncio
import socket
import threading
from typing import Any

import pytest

from registry.addresses import AddressRules, AddressSettings
from registry.gateway.http1.connector import Connector
from registry.gateway.http1.endpoint import Endpoint
from registry.gateway.http1.resolver import Resolver
from registry.gateway.http1.upstream_errors import AddressForbidden, ConnectFailed, Unreachable
from registry.kinds import Outcome
from tests.loops import TEST_DEADLINE_S, on_loop
from tests.registry.gateway.stand_ins import CALL, world

NOWHERE = AddressSettings(networks=[])
LOCAL = AddressRules.of(AddressSettings())


@pytest.fixture
def names(monkeypatch: pytest.MonkeyPatch) -> dict[str, list[str]]:
    """The addresses of host names, as the name servers of this test have them."""
    known: dict[str, list[str]] = {}

    def getaddrinfo(host: str, *_: Any, **__: Any) -> list[Any]:
        if host not in known:
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, 0)) for address in known[host]]

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    return known


@on_loop
async def test_forbidden_backend_is_passed_over() -> None:
    """A backend at a forbidden address is as one that cannot be reached: another one gets the request."""
    async with world(backends={"b": "http://169.254.169.254/v1"}) as w:
        got = await w.ask(CALL)
        assert (got.status, got.headers["x-registry-backend"]) == (200, "a")
        assert await w.registry.released.get() == ("b", Outcome.UNREACHABLE)


@on_loop
async def test_only_forbidden_backends_give_a_clear_error() -> None:
    """If there is no other backend, the client is told at once why, and nothing was connected to."""
    async with world(addresses=NOWHERE) as w:
        got = await w.ask(CALL)
        assert got.status == 503
        assert "127.0.0.1 is in none of the allowed networks" in got.json()["error"]["message"]
        assert w.upstream.connections == 0


@on_loop
async def test_rules_reach_the_connections_of_a_gateway() -> None:
    """The networks that a gateway is told decide, and nothing else."""
    async with world(addresses=AddressSettings(networks=["127.0.0.1/32"])) as w:
        assert (await w.ask(CALL)).status == 200


async def reached(host: str, rules: AddressRules = LOCAL) -> str:
    """The address at which a host was reached, or the error that came instead."""

    class Server(asyncio.Protocol):
        pass

    loop = asyncio.get_running_loop()
    listening = await loop.create_server(Server, "127.0.0.1", 0)
    port = listening.sockets[0].getsockname()[1]
    try:
        protocol = await Connector(rules).connect(Endpoint(host, port, tls=False), Client)
    except Unreachable as error:
        return f"{type(error).__name__}: {error.reason}"
    finally:
        listening.close()
    peer: str = protocol.transport.get_extra_info("peername")[0]
    protocol.transport.abort()
    return peer


class Client(asyncio.Protocol):
    """Knows its transport."""

    def connection_made(self, transport: Any) -> None:
        self.transport = transport


@on_loop
async def test_name_is_judged_by_the_address_behind_it(names: dict[str, list[str]]) -> None:
    """A harmless name that leads to a forbidden address is refused."""
    names["gpu.example"] = ["169.254.169.254"]
    said = await reached("gpu.example")
    assert said == "AddressForbidden: 169.254.169.254 is a link-local address, which is never connected to"


@on_loop
async def test_allowed_address_of_a_name_with_several_is_taken(names: dict[str, list[str]]) -> None:
    """Of a name's addresses the forbidden ones are left out, and those where nobody listens are no end."""
    names["gpu.example"] = ["169.254.169.254", "127.0.0.9", "127.0.0.1"]
    assert await reached("gpu.example") == "127.0.0.1"


@on_loop
async def test_name_that_changes_its_address_is_looked_up_once(names: dict[str, list[str]]) -> None:
    """What was judged is what is connected to, though the name leads elsewhere a moment later."""
    names["gpu.example"] = ["127.0.0.1"]

    class Changing(AddressRules):
        def check(self, address: str, host: str, port: int) -> str | None:
            names[host] = ["127.0.0.2"]
            return LOCAL.check(address, host, port)

    assert await reached("gpu.example", Changing([], [])) == "127.0.0.1"


@on_loop
async def test_unknown_name_is_told(names: dict[str, list[str]]) -> None:
    """A name that nobody knows is as a server that cannot be reached."""
    names.clear()
    assert await reached("gpu.example") == "ConnectFailed: there is no such host"


@pytest.mark.parametrize("host", ["a" * 64 + ".example", "\x00", "a..b"])
@on_loop
async def test_what_cannot_be_a_name_is_told(host: str) -> None:
    """The same goes for what can be no name at all."""
    assert await reached(host) == "ConnectFailed: there is no such host"


@on_loop
async def test_unreachable_is_told_in_words() -> None:
    """A refused connection is said to be one."""
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    with pytest.raises(ConnectFailed) as failed:
        await Connector(LOCAL).connect(Endpoint("127.0.0.1", port, tls=False), Client)
    assert str(failed.value) == f"no connection to 127.0.0.1:{port}: connection refused"


@on_loop
async def test_numbers_that_stand_for_addresses_are_judged() -> None:
    """Spellings of addresses that only the resolver understands get around nothing."""
    for host in ("2852039166", "0xa9fea9fe", "169.16689662"):
        with pytest.raises(AddressForbidden, match=r"169\.254\.169\.254"):
            await Connector(LOCAL).connect(Endpoint(host, 80, tls=False), Client)


@on_loop
async def test_hung_name_server_delays_only_its_own_names(monkeypatch: pytest.MonkeyPatch) -> None:
    """A name is looked up once however many ask, and one that never comes holds up no other."""
    hung, asked = threading.Event(), []

    def getaddrinfo(host: str, *_: Any, **__: Any) -> list[Any]:
        asked.append(host)
        if host == "slow.example":
            hung.wait(TEST_DEADLINE_S)
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", 0))]

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    resolver = Resolver(most=2)
    slow = [asyncio.create_task(resolver.addresses("slow.example")) for _ in range(3)]
    assert await resolver.addresses("quick.example") == ["127.0.0.1"]
    assert await resolver.addresses("other.example") == ["127.0.0.1"]
    slow[0].cancel()
    hung.set()
    assert await asyncio.gather(*slow[1:]) == [["127.0.0.1"]] * 2
    assert asked.count("slow.example") == 1
