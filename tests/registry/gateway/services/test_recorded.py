"""Clients of the service registry whose place this one takes notice no difference."""

from __future__ import annotations

import http.client
from typing import Any
from urllib.parse import urlencode, urlsplit

from tests.loops import on_loop
from tests.polling import until
from tests.processes import program
from tests.registry.gateway.services.recorded import body_of, differences, probed_services, recorded_calls
from tests.registry.gateway.services.sent import request
from tests.registry.gateway.stand_ins import world


def target_of(call: dict[str, Any]) -> str:
    """Path and query of a call."""
    return f"{call['path']}?{urlencode(call['query'])}" if call["query"] else str(call["path"])


@on_loop
async def test_recorded_calls_in_a_gateway() -> None:
    """Each of the 58 recorded calls gets the recorded answer, field by field and in their order."""
    calls = recorded_calls()
    assert len(calls) == 58
    async with world() as w:
        w.registry.answering = {"bs-a", "bs-a-server"}
        for call in calls:
            answer = await w.ask(request(call["method"], target_of(call), body_of(call)))
            assert differences(call, answer.status, answer.received) == [], call


def test_recorded_calls_of_a_server() -> None:
    """The same holds of a whole server, which probes the services itself."""
    with probed_services() as first_port, program("-m", "registry", "serve", "--ephemeral", "--port", "0") as server:
        address = urlsplit(until(server.address, "the server serves", 20))
        for call in recorded_calls(first_port):
            connection = http.client.HTTPConnection(str(address.hostname), address.port, timeout=20)
            connection.request(call["method"], target_of(call), body_of(call))
            answer = connection.getresponse()
            assert differences(call, answer.status, answer.read()) == [], call
            connection.close()
