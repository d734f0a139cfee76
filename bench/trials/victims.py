"""A worker that is killed: it takes and gives back without a pause, so that its death comes in the midst of something.

It imports next to nothing: a benchmark starts a thousand of them.
"""

from __future__ import annotations

import itertools
import os
from pathlib import Path

import msgspec

from actors.client import Client
from actors.processes.child import Child
from bench.trials.board import Board, Word
from registry.commands import Acquire, DecrementPending, IncrementPending, Release
from registry.state.records import Grant

_encode = msgspec.msgpack.encode


class Orders(msgspec.Struct, frozen=True):
    """The payload of a victim.

    Attributes:
        board: The file of the board.
        slot: Which slot is this process's.
        model: What it asks for.
        backend: What it counts on.
    """

    board: str
    slot: int
    model: str
    backend: str


def live(child: Child) -> None:
    """Take and give back until the end."""
    child.leave_with_supervisor()
    assert child.channel is not None  # noqa: S101 - every worker is given one
    orders = msgspec.msgpack.decode(child.payload, type=Orders)
    words = Board(Path(orders.board)).slot(orders.slot)
    client = Client(child.channel)
    child.ready()
    increment = _encode(IncrementPending(orders.backend))
    decrement = _encode(DecrementPending(orders.backend))
    acquire = _encode(Acquire(orders.model))
    words[Word.PID] = os.getpid()
    for turn in itertools.count(1):
        grant = msgspec.msgpack.decode(client.ask(acquire), type=Grant)
        client.ask(increment)
        if turn % 3:  # else it stays, and is given back by its death
            client.ask(_encode(Release(grant.id)))
            client.ask(decrement)
        words[Word.ANSWERS] = turn
