"""One probe, from the order to the finding."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from http import HTTPStatus
from typing import NamedTuple

from registry.addresses import AddressRules
from registry.gateway.http1.connector import Connector
from registry.gateway.http1.deadlines import Deadlines
from registry.gateway.http1.messages import Fields
from registry.gateway.trail import Trail
from registry.health.findings import Finding, NotHealthy, readable
from registry.health.http import Conversation, NoAnswer, Place
from registry.health.probes import anthropic, generic, google, llamacpp, lmstudio, openai, sglang, vllm
from registry.health.probes.ollama import Ollama
from registry.kinds import BackendStatus, BackendType, Target
from registry.models import Model
from registry.state.probe_records import ProbeOrder

Ask = Callable[[Conversation], Awaitable[list[Model]]]


def _bearer(key: bytes) -> Fields:
    return [(b"authorization", b"Bearer " + key)]


class _Type(NamedTuple):
    """How a type of server is asked, and how it is given its key."""

    ask: Ask
    key_fields: Callable[[bytes], Fields] = _bearer


class Prober:
    """Probes backends and services.

    Must be made within a running event loop.

    Args:
        rules: Which addresses may be connected to.
        api_keys: The key of each backend that needs one, by URL.
        timeout_s: How long one probe may take, in seconds.
        pseudonym: By which this server knows a probe of itself.
    """

    def __init__(self, rules: AddressRules, api_keys: Mapping[str, str], timeout_s: float, pseudonym: str) -> None:
        self._deadlines = Deadlines(asyncio.get_running_loop())
        # Those that somebody waits for have name look-ups of their own, which the others cannot fill.
        self._connectors = {urgent: Connector(rules) for urgent in (False, True)}
        self._api_keys = {url.rstrip("/"): key for url, key in api_keys.items()}
        self._timeout_s = timeout_s
        self._trail = Trail(pseudonym)
        self._types = {
            BackendType.OLLAMA: _Type(Ollama().ask),
            BackendType.VLLM: _Type(vllm.ask),
            BackendType.LLAMACPP: _Type(llamacpp.ask),
            BackendType.EXO: _Type(openai.ask),
            BackendType.OPENAI: _Type(openai.ask),
            BackendType.LMSTUDIO: _Type(lmstudio.ask),
            BackendType.SGLANG: _Type(sglang.ask),
            BackendType.ANTHROPIC: _Type(anthropic.ask, anthropic.key_fields),
            BackendType.GOOGLE: _Type(google.ask, google.key_fields),
            BackendType.GENERIC: _Type(generic.ask),
        }

    async def probe(self, order: ProbeOrder) -> Finding:
        """Probe one thing; whatever it answers, there is a finding."""
        probe = self._probe_service if order.target is Target.SERVICE else self._probe_backend
        try:
            return await probe(order)
        except NoAnswer as error:
            return Finding(status=BackendStatus.UNHEALTHY, error=readable(str(error)))

    async def _probe_service(self, order: ProbeOrder) -> Finding:
        async with self._conversation(order, Place.of_page(order.url), []) as service:
            status = await service.get_status()
            healthy = status == HTTPStatus.OK
            return Finding(
                status=BackendStatus.HEALTHY if healthy else BackendStatus.UNHEALTHY,
                error=None if healthy else f"answered {status}",
                latency_ms=service.latency_ms,
            )

    async def _probe_backend(self, order: ProbeOrder) -> Finding:
        kind = self._types[order.backend_type]
        key = self._api_keys.get(order.url.rstrip("/"))
        fields = [] if key is None else kind.key_fields(key.encode("ascii"))
        async with self._conversation(order, Place.of_backend(order.url), fields) as server:
            try:
                models = await kind.ask(server)
            except NotHealthy as error:
                return Finding(
                    status=error.status,
                    error=readable(str(error)),
                    latency_ms=server.latency_ms,
                    retry_after_s=error.retry_after_s,
                )
            return Finding(status=BackendStatus.HEALTHY, latency_ms=server.latency_ms, models=models)

    def _conversation(self, order: ProbeOrder, place: Place, fields: Fields) -> Conversation:
        connector = self._connectors[order.urgent]
        return Conversation(connector, self._deadlines, place, fields, trail=self._trail, timeout_s=self._timeout_s)
