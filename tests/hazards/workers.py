"""What the worker processes of these tests do."""

from __future__ import annotations

import logging
import os
import signal

import msgspec

from actors.client import Client
from actors.processes.child import Child
from registry import Backend, BackendStatus, Registry
from tests.actors.counter import Take


def hold_and_fork(child: Child) -> None:
    """Hold something, and leave a grandchild behind that has a copy of every descriptor."""
    assert child.channel is not None
    Client(child.channel).ask(msgspec.msgpack.encode(Take()))
    if not os.fork():
        signal.pause()
        os._exit(0)
    child.ready()
    signal.pause()


def log_and_hold(child: Child) -> None:
    """Use what a fork might find locked."""
    logging.getLogger().error("here")
    child.ready()
    signal.pause()


def change_backends(registry: Registry, worker: int, times: int) -> None:
    """Add, change and remove backends of one's own, and leave one more behind."""
    for turn in range(times):
        id = f"{worker}-{turn % 7}"
        registry.add_backend(Backend(url="http://a:8000", id=id))
        registry.update_status(id, BackendStatus.HEALTHY)
        if turn % 3:
            registry.remove_backend(id)
        else:
            other = Backend(url="http://b:8000", id=id)
            registry.batch([Registry.remove_backend.call(id), Registry.add_backend.call(other)])
            registry.remove_backend(id)
    registry.add_backend(Backend(url="http://a:8000", id=f"last-{worker}"))
