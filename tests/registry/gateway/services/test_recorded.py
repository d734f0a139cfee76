"""Clients of the service registry whose place this one takes notice no difference."""

from __future__ import annotations

from urllib.parse import urlencode

from tests.registry.gateway.services.recorded import body_of, differences, recorded_calls
from tests.registry.gateway.services.sent import request
from tests.registry.gateway.stand_ins import on_loop, world


@on_loop
async def test_recorded_calls() -> None:
    """Each of the 58 recorded calls gets the recorded answer, field by field and in their order."""
    calls = recorded_calls()
    assert len(calls) == 58
    async with world() as w:
        w.registry.answering = {"bs-a", "bs-a-server"}
        for call in calls:
            target = call["path"] + (f"?{urlencode(call['query'])}" if call["query"] else "")
            answer = await w.ask(request(call["method"], target, body_of(call)))
            assert differences(call, answer.status, answer.received) == [], call
