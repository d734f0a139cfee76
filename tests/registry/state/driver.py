"""The registry's state, driven as the owner's engine drives it, but without processes, clocks and files."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from actors.actor import Context
from actors.errors import CommandError
from actors.tables import Change, revert
from registry import commands as c
from registry.actor import RegistryActor
from registry.kinds import BackendStatus
from registry.state.records import BackendRecord, BackendState, Grant, ModelRecord


def backend(id: str, *models: str, **fields: Any) -> BackendRecord:
    """A healthy backend of this id that has these models."""
    defaults = {
        "name": id,
        "url": f"http://{id}:8000",
        "status": BackendStatus.HEALTHY,
        "models": tuple(ModelRecord(model, name=model) for model in models),
    }
    return BackendRecord(id=id, **{**defaults, **fields})


class State:
    """A state, and the changes that were made to it.

    Attributes:
        actor: What is driven.
        changes: All changes so far, but those of refused commands.
        now_s: The instant on both clocks; moves only when a test moves it.
        revision: Number of the latest durable change.
    """

    def __init__(self, *backends: BackendRecord, epoch: int = 1) -> None:
        self.actor = RegistryActor()
        self.epoch = epoch
        self.now_s = 1_000.0
        self.revision = 0
        self.changes: list[Change] = []
        for table in self.actor.tables:
            table.changes = self.changes
        for record in backends:
            self.apply(c.AddBackend(record))

    def context(self, session: int) -> Context:
        return Context(session, 1, math.inf, self.now_s, self.now_s, self.epoch, self.revision)

    def apply(self, command: c.Command, session: int = 1) -> Any:
        """Do a command; if it is refused, what it did so far is undone."""
        return self._do(lambda context: self.actor.apply(command, context), session)

    def _do(self, event: Callable[[Context], Any], session: int = 0) -> Any:
        start = len(self.changes)
        try:
            result = event(self.context(session))
        except CommandError:
            revert(self.changes[start:])
            del self.changes[start:]
            raise
        self.revision += any(change.table.durable for change in self.changes[start:])
        return result

    def end_session(self, session: int) -> None:
        self.actor.session_ended(self.context(session), None)

    def tick(self) -> None:
        self._do(self.actor.tick)
        for event in self.actor.due(self.context(0)):
            self._do(event)

    def get(self, id: str) -> BackendState:
        """A backend that is there."""
        found: BackendState | None = self.apply(c.GetBackend(id))
        assert found is not None
        return found

    def pending(self, id: str) -> int:
        return self.get(id).pending_requests

    def ids(self, model: str | None = None, status: BackendStatus | None = None) -> list[str]:
        """Ids of the backends that have a model and are in a status, in the order in which they are given."""
        found: list[BackendState] = self.apply(c.GetBackends(model, status))
        return [state.record.id for state in found]

    def acquire(self, model: str = "m", session: int = 1, **fields: Any) -> Grant:
        grant: Grant = self.apply(c.Acquire(model, **fields), session)
        return grant

    def release(self, grant: Grant, session: int = 1, **fields: Any) -> None:
        self.apply(c.Release(grant.id, **fields), session)
