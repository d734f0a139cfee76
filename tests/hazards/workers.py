"""What the worker processes of these tests do."""

from __future__ import annotations

import logging
import os
import signal

import msgspec

from actors.client import Client
from actors.processes.child import Child
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
