"""What the worker processes of these tests do."""

from __future__ import annotations

import logging
import os
import signal
from pathlib import Path

import msgspec

from actors.child import Child
from actors.client import Client
from tests.actors.counter import Increment, Take


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


def finish_with_a_command(child: Child) -> None:
    """When told to stop, ask the owner once more, and write its answer into a file (the payload is its path)."""
    assert child.channel is not None
    client = Client(child.channel)
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    child.ready()
    signal.sigwait({signal.SIGTERM})
    answer = msgspec.msgpack.decode(client.ask(msgspec.msgpack.encode(Increment("last"))))
    Path(child.payload.decode()).write_text(str(answer))
