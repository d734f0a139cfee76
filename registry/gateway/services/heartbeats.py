"""Plain heartbeats, of which there are more than of anything else."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from actors.errors import ActorsError
from registry.gateway.http1.response import Response
from registry.gateway.services import wire
from registry.gateway.services.asked import ServicesRegistry
from registry.gateway.services.gathering import Gathering
from registry.operations import Operations

_Sent = list[tuple[str, Response]]


class Heartbeats:
    """Tells the owner of heartbeats, several in one message, and answers those who have sent them.

    Args:
        registry: Who is told.
        refuse: Answers with an error of the registry.
    """

    def __init__(self, registry: ServicesRegistry, refuse: Callable[[ActorsError, Response], None]) -> None:
        self._registry = registry
        self._refuse = refuse
        self._gathering = Gathering(self._tell)

    def hear(self, name: str, response: Response) -> None:
        """Take a heartbeat; `response` is sent when the owner has it."""
        self._gathering.add((name, response))

    def _tell(self, sent: _Sent) -> None:
        call = Operations.heartbeats.call([name for name, _ in sent])
        self._registry.perform_then(call, partial(self._told, sent))

    def _told(self, sent: _Sent, others: list[str] | ActorsError) -> None:
        self._gathering.answered()  # first of all: the owner works on these while those before are answered
        if isinstance(others, ActorsError):
            for _, response in sent:
                self._refuse(others, response)
            return
        heard = wire.heard()
        alone = set(others)  # those that are of nobody, or change their service
        for name, response in sent:
            if name not in alone:
                wire.send(response, heard)
        if alone:
            left = [(name, response) for name, response in sent if name in alone]
            calls = [Operations.heartbeat.call(name) for name, _ in left]
            self._registry.batch_then(calls, partial(self._told_alone, left))

    def _told_alone(self, left: _Sent, outcomes: list[Any] | ActorsError) -> None:
        if isinstance(outcomes, ActorsError):
            outcomes = [outcomes] * len(left)
        for (_, response), outcome in zip(left, outcomes, strict=True):
            if isinstance(outcome, ActorsError):
                self._refuse(outcome, response)
            else:
                wire.send(response, wire.heard())
