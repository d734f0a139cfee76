"""Plain heartbeats, of which there are more than of anything else."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

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
        for name, response in sent:
            if name in others:  # it is of nobody, or changes its service
                self._registry.perform_then(Operations.heartbeat.call(name), partial(self._told_alone, response))
            else:
                wire.send(response, heard)

    def _told_alone(self, response: Response, outcome: ActorsError | None) -> None:
        if outcome is None:
            wire.send(response, wire.heard())
        else:
            self._refuse(outcome, response)
