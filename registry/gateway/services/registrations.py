"""Registrations, which come in crowds when many services start, and again and again from those that never rest."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from http import HTTPStatus
from typing import Any

from actors.errors import ActorsError
from registry.gateway.http1.response import Response
from registry.gateway.services import wire
from registry.gateway.services.asked import ServicesRegistry
from registry.gateway.services.gathering import Gathering
from registry.operations import Call, Operations
from registry.state.service_records import ServiceView

_Sent = list[tuple[Call[ServiceView], Response]]


class Registrations:
    """Tells the owner of registrations, several in one message, and answers those who have sent them.

    Each is done for itself: that one is refused changes nothing for the others.

    Args:
        registry: Who is told.
        refuse: Answers with an error of the registry.
    """

    def __init__(self, registry: ServicesRegistry, refuse: Callable[[ActorsError, Response], None]) -> None:
        self._registry = registry
        self._refuse = refuse
        self._gathering = Gathering(self._tell)

    def take(self, fields: dict[str, Any], response: Response) -> None:
        """Register a service; `response` is sent when the owner has it.

        Args:
            fields: The arguments of `register_service`.
            response: Where the answer goes.

        Raises:
            InvalidField: They hold what no message can carry.
        """
        self._gathering.add((Operations.register_service.call(**fields), response))

    def _tell(self, sent: _Sent) -> None:
        self._registry.batch_then([call for call, _ in sent], partial(self._told, sent))

    def _told(self, sent: _Sent, outcomes: list[Any] | ActorsError) -> None:
        self._gathering.answered()  # first of all: the owner works on these while those before are answered
        if isinstance(outcomes, ActorsError):
            outcomes = [outcomes] * len(sent)
        for (_, response), outcome in zip(sent, outcomes, strict=True):
            if isinstance(outcome, ActorsError):
                self._refuse(outcome, response)
            else:
                registered(outcome, response)


def registered(service: ServiceView, response: Response) -> None:
    """Say that a service was registered."""
    wire.send(response, wire.done_with(service.name, "registered", service), HTTPStatus.CREATED)
