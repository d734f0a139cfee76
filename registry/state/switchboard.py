"""Who gets which backend: at once, or in turn.

After each command nobody waits who could be served, and nobody for whom no backend is left.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from registry.errors import ModelNotFound, NoBackendAvailable, QueueFull, RegistryError
from registry.state.backends import Backends
from registry.state.leases import Leases
from registry.state.line import CallId, Line, Place
from registry.state.records import Grant, LeaseRecord, WaitingRecord

if TYPE_CHECKING:
    from actors.actor import Context

RETRY_AFTER_S = 5.0
"""When to ask again for a model whose backends are all unavailable."""

BUSY_RETRY_AFTER_S = 1.0
"""When to ask again for a model whose healthy backends are all busy."""

NAMED_MODELS = 20
"""How many available models an error about an unknown one names."""

MAX_WAITING = 1_000
"""How many requests for one model may wait."""


class Switchboard:
    """Gives backends to requests.

    Args:
        backends: What there is.
        leases: What is given.
        line: Who waits.
    """

    def __init__(self, backends: Backends, leases: Leases, line: Line) -> None:
        self._backends = backends
        self._choice = backends.choice
        self._leases = leases
        self._line = line

    def acquire(self, model: str, exclude: Sequence[str], lease_s: float, context: Context) -> Grant | None:
        """Give a request a backend, or None if all those that it may have are busy.

        Raises:
            ModelNotFound: No backend has the model.
            NoBackendAvailable: None of those that have it is healthy and not excluded.
        """
        candidates = self._choice.candidates(model, exclude)
        if not candidates:
            raise self._unavailable(model)
        chosen = self._choice.best(candidates)
        return None if chosen is None else self._grant(context.session, chosen, model, lease_s, context)

    def wait(self, waiting: WaitingRecord, context: Context) -> None:
        """Let a request wait for its turn; raises `QueueFull`."""
        count = self._line.waiting(waiting.model)
        if count >= MAX_WAITING:
            raise QueueFull(waiting.model, count)
        self._line.join(context.call, waiting, context.epoch)

    def serve(self, context: Context) -> None:
        """Give those who wait what has become free, and refuse those for whom nothing is left."""
        choice = self._choice
        stirred, freed = choice.moved()
        waited_for = self._line.models
        for model in waited_for:
            if model in stirred:
                self._dismiss(model, context)
        models = [model for model in waited_for if model in stirred or not freed.isdisjoint(choice.candidates(model))]
        while models:
            served = []
            for model in models:
                first = self._first(model, context.monotonic_s)
                if first is not None:
                    served.append((first, model))
            if not served:
                break
            (_, call, backend), model = min(served)
            self._serve(call, backend, context)
            models = [model for _, model in served]

    def _dismiss(self, model: str, context: Context) -> None:
        """Refuse those who wait for a model and whom no backend can ever serve as things are."""
        for _, call, waiting in list(self._line.in_order(model)):
            if not self._choice.candidates(model, waiting.exclude):
                self._line.leave(call)
                context.refuse(call, self._unavailable(model))

    def _first(self, model: str, now_s: float) -> tuple[Place, CallId, str] | None:
        """The first in the line of a model who can be served, and with which backend."""
        choice = self._choice
        routable = choice.candidates(model)
        if not routable or choice.best(routable) is None:
            return None
        for place, call, waiting in self._line.in_order(model):
            if waiting.deadline_s < now_s:
                continue  # it may never read its grant; the next tick takes it out of the line
            backend = choice.best(choice.candidates(model, waiting.exclude))
            if backend is not None:
                return place, call, backend
        return None

    def _serve(self, call: CallId, backend: str, context: Context) -> None:
        waiting = self._line.records.get(call)
        if waiting is not None:
            grant = self._grant(call[0], backend, waiting.model, waiting.lease_s, context)
            self._line.serve(call, grant.id)
            context.answer(call, grant)

    def _grant(self, session: int, backend: str, model: str, lease_s: float, context: Context) -> Grant:
        now_s = context.monotonic_s
        deadline_s = now_s + lease_s
        id = self._leases.grant(LeaseRecord(session, backend, model, now_s, deadline_s), context.epoch)
        return Grant(id, backend, self._backends.require(backend).url, model, deadline_s)

    def _unavailable(self, model: str) -> RegistryError:
        """Why nothing can be given for a model that no healthy backend has."""
        if self._backends.is_known(model):
            return NoBackendAvailable(model, RETRY_AFTER_S)
        return ModelNotFound(model, self._backends.some_healthy_models(NAMED_MODELS))
