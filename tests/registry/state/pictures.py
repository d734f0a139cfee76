"""The whole state of a registry, to be compared: its tables, and what is derived from them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar

from actors.tables import revert
from actors.turns.engine import Engine
from registry.actor import RegistryActor

T = TypeVar("T")


class Picture(NamedTuple):
    """A state. The order of rows is not part of its meaning, nor is what only breaks ties.

    Attributes:
        rows: All tables.
        derived: All that is kept beside them.
    """

    rows: dict[str, dict[Any, Any]]
    derived: dict[str, Any]


def picture(engine: Engine) -> Picture:
    """The state as it is."""
    actor = _actor(engine)
    rows = {name: dict(table.items()) for name, table in engine._tables.items()}
    return Picture(rows, derived_from(actor))


def rebuilt(engine: Engine) -> Picture:
    """The same state, with everything derived worked out anew from the tables."""
    actor = _actor(engine)
    copy = RegistryActor(actor.rules)
    for table, empty in zip(actor.tables, copy.tables, strict=True):
        for key, record in table.items():
            empty.restore(key, record)
    return Picture(picture(engine).rows, derived_from(copy))


def done_twice(engine: Engine, step: Callable[[], T]) -> T:
    """Make a step, undo all that it has changed, and restore it, which must show in nothing; it is not stored yet."""
    before = picture(engine)
    result = step()
    changes = list(engine.turn._changes)
    after = picture(engine)
    revert(changes)
    assert picture(engine) == before
    for change in changes:
        change.table.restore(change.key, change.after)
    assert picture(engine) == after
    return result


def derived_from(actor: RegistryActor) -> dict[str, Any]:
    """All that is kept beside the tables."""
    health = actor.health
    backends, pending, choice = actor.backends, actor.backends.pending, actor.backends.choice
    servers, silence = actor.services._servers, actor.services._silence
    return {
        "servers": {server: set(ids) for server, ids in backends.servers.items()},
        "named": {
            key: (set(server.names), dict(server.models), server.running) for key, server in servers.named.items()
        },
        "healthy_services": set(silence.healthy.noted),
        "all_services": set(silence.all.noted),
        "pending": dict(pending._counts),
        "by_model": {model: set(having) for model, having in backends._by_model.items()},
        "routable": {model: set(ids) for model, ids in choice.routable.items()},
        "loads": {id: load for id, (load, _) in choice.ranks.items()},
        "raw_of_session": {session: set(ids) for session, ids in pending._of_session.items()},
        "raw_of_backend": {id: set(sessions) for id, sessions in pending._of_backend.items()},
        "leases_of_session": {session: set(ids) for session, ids in actor.leases._of_session.items()},
        "agenda": dict(health.agenda.filed),
        "claims_of_aim": dict(health.claims._of_aim),
        "claims_of_session": {session: set(claims) for session, claims in health.claims._of_session.items()},
        "checks": {name: set(calls) for name, calls in health.checks._of_service.items()},
        "line": {
            model: {key: list(places) for key, places in line.places.items()}
            for model, line in actor.line._models.items()
        },
    }


def _actor(engine: Engine) -> RegistryActor:
    actor = engine.actor
    assert isinstance(actor, RegistryActor)
    return actor
