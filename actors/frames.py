"""What a worker process and the owner say to each other.

A message on the queue is a list of frames, so that everything one side has to say at a moment shares one packet.
"""

from __future__ import annotations

from typing import Any

import msgspec

Range = tuple[int, int]
"""First and last of consecutive command numbers, both included."""


class Hello(msgspec.Struct, frozen=True, array_like=True, tag="hello"):
    """Worker to owner, in answer to `Welcome`. What was sent before it is void and is sent again after it.

    Attributes:
        epoch: The epoch of the Welcome it answers.
        answered: The commands whose answers have arrived, and need not be kept any more.
    """

    epoch: int
    answered: list[Range]


class Ask(msgspec.Struct, frozen=True, array_like=True, tag="ask"):
    """Worker to owner: a command; a `tell` is one whose answer nobody looks at.

    Attributes:
        number: Rises by one from command to command of a session.
        deadline: Instant on `CLOCK_MONOTONIC` in seconds after which the command must not be started.
        answered: All commands up to this number have been answered.
        command: The encoded command; only the actor knows its type.
    """

    number: int
    deadline: float
    answered: int
    command: msgspec.Raw


class Welcome(msgspec.Struct, frozen=True, array_like=True, tag="welcome"):
    """Owner to worker: a new life of the owner begins, with the rules that hold in it.

    Attributes:
        epoch: The number of this life.
        session: The number of the worker's session.
        window: How many unanswered commands the session may have.
    """

    epoch: int
    session: int
    window: int


class Failure(msgspec.Struct, frozen=True, array_like=True):
    """Why a command was refused: the code and the details of a `CommandError`."""

    code: str
    message: str
    details: dict[str, Any]


class Answer(msgspec.Struct, frozen=True, array_like=True, tag="answer"):
    """Owner to worker: what became of a command.

    Attributes:
        number: The number of the command.
        result: The encoded result, nil when there is a failure.
        failure: Why the command changed nothing, or None.
        revision: Number of the latest durable change when the command was applied.
    """

    number: int
    result: msgspec.Raw
    failure: Failure | None
    revision: int


class Refused(msgspec.Struct, frozen=True, array_like=True, tag="refused"):
    """Owner to worker: a message could not be understood, so none of it was done."""

    reason: str


ToOwner = Hello | Ask
ToWorker = Welcome | Answer | Refused

encode = msgspec.msgpack.Encoder().encode
decode_to_owner = msgspec.msgpack.Decoder(list[ToOwner]).decode
decode_to_worker = msgspec.msgpack.Decoder(list[ToWorker]).decode
