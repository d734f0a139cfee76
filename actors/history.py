"""The history of durable changes as it is read: by those who watch, and from a journal."""

from __future__ import annotations

from typing import Any

import msgspec

MAX_STEPS = 100
"""Most steps in one answer."""


class StoredChange(msgspec.Struct, frozen=True, array_like=True):
    """One record of one table, before and after, as builtin types; None stands for absent."""

    table: str
    key: Any
    before: Any
    after: Any


class StoredStep(msgspec.Struct, frozen=True, array_like=True):
    """One durable change; see `actors.journal.Step`."""

    revision: int
    session: int
    cause: str
    wall_s: float
    changes: tuple[StoredChange, ...]
    by: str = ""


class Watched(msgspec.Struct, frozen=True, array_like=True):
    """The answer to a `frames.Watch`.

    Attributes:
        revision: Number of the latest durable change that was stored when it was answered.
        steps: What was asked for, in order and without a gap; more of it may be there if they are as many as were
            asked for, or long.
    """

    revision: int
    steps: list[StoredStep]


decode_watched = msgspec.msgpack.Decoder(Watched).decode
