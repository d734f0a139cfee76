"""An actor runtime on multiple processes: one owner holds the state, workers send it messages, a supervisor watches.

This package knows processes and messages; what the state means is up to the `Actor`.
"""

from __future__ import annotations

from actors.lazy import lazily

TYPE_CHECKING = False  # that of `typing` takes a while to load, in which the command line could not obey Ctrl-C
if TYPE_CHECKING:
    from actors.actor import Actor as Actor
    from actors.actor import Context as Context
    from actors.aio import AsyncClient as AsyncClient
    from actors.client import Client as Client
    from actors.errors import ActorsError as ActorsError
    from actors.errors import CommandError as CommandError
    from actors.processes.children import ChildSpec as ChildSpec
    from actors.processes.children import OwnerSpec as OwnerSpec
    from actors.processes.restarts import Restart as Restart
    from actors.processes.restarts import RestartPolicy as RestartPolicy
    from actors.queues import MessageQueue as MessageQueue
    from actors.supervisor import Supervisor as Supervisor
    from actors.tables import Table as Table

_HOMES = {
    "Actor": "actor",
    "ActorsError": "errors",
    "AsyncClient": "aio",
    "ChildSpec": "processes.children",
    "Client": "client",
    "CommandError": "errors",
    "Context": "actor",
    "MessageQueue": "queues",
    "OwnerSpec": "processes.children",
    "Restart": "processes.restarts",
    "RestartPolicy": "processes.restarts",
    "Supervisor": "supervisor",
    "Table": "tables",
}
"""The public names and the modules they live in; loaded when first used, so that each process loads what it needs."""

__all__ = sorted(_HOMES)  # noqa: PLE0605 - computed, so that there is one list

__getattr__ = lazily(__name__, _HOMES)
