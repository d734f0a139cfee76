"""What a worker process and the owner say to each other.

A message on the queue is a list of frames, so that everything one side has to say at a moment shares one packet.
"""

from __future__ import annotations

from typing import Annotated, Any

import msgspec

from actors.ranges import Range

MAX_RANGES = 4_096
"""Most ranges in a frame. A gap between two is a command that waits, and of those a session has at most a window."""

Ranges = Annotated[list[Range], msgspec.Meta(max_length=MAX_RANGES)]


class Hello(msgspec.Struct, frozen=True, array_like=True, tag="hello"):
    """Worker to owner, in answer to `Welcome`. What was sent before it is void and is sent again after it.

    Attributes:
        epoch: The epoch of the Welcome it answers.
        answered: The commands whose answers have arrived, and need not be kept any more.
    """

    epoch: int
    answered: Ranges


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


class Batch(msgspec.Struct, frozen=True, array_like=True, tag="batch"):
    """Worker to owner: several commands, done one after the other with nothing in between and answered as one.

    Attributes:
        number: As of an `Ask`.
        deadline: As of an `Ask`.
        answered: As of an `Ask`.
        atomic: Whether all are undone if one is refused; else each stands for itself.
        commands: The encoded commands.
    """

    number: int
    deadline: float
    answered: int
    atomic: bool
    commands: list[msgspec.Raw]


class Inspect(msgspec.Struct, frozen=True, array_like=True, tag="inspect"):
    """Worker to owner: how are you? Answered with `statistics.OwnerStatistics`; the fields are those of an `Ask`."""

    number: int
    deadline: float
    answered: int


class Watch(msgspec.Struct, frozen=True, array_like=True, tag="watch"):
    """Worker to owner: what has changed? Answered with `history.Watched`; nothing is done, so it may be asked again.

    Attributes:
        number: As of an `Ask`.
        deadline: As of an `Ask`.
        answered: As of an `Ask`.
        since: The steps after this revision; None for the latest ones.
        limit: So many steps at most.
        wait: Whether to wait for a step if there is none yet.
    """

    number: int
    deadline: float
    answered: int
    since: int | None
    limit: int
    wait: bool


class Sync(msgspec.Struct, frozen=True, array_like=True, tag="sync"):
    """Worker to owner: is my copy of the views up to date? Answered with None once it is.

    The answer comes when the copy is whole, after all that was stored before the owner read the question. Nothing is
    done, so it may be asked again. The fields are those of an `Ask`.
    """

    number: int
    deadline: float
    answered: int


class Cancel(msgspec.Struct, frozen=True, array_like=True, tag="cancel"):
    """Worker to owner: nobody waits for this command any more. If the actor has put it off, it is given up."""

    number: int


class Acked(msgspec.Struct, frozen=True, array_like=True, tag="acked"):
    """Worker to owner: these answers have arrived. Needed where a command that waits holds `Ask.answered` back."""

    answered: Ranges


class Follow(msgspec.Struct, frozen=True, array_like=True, tag="follow"):
    """Worker to owner: keep my copy of the views up to date. Answered with `Snapshot`s, and from then on `Update`s.

    Attributes:
        counter: Rises with each of them; what is still under way for an earlier one is void.
        revision: That of the durable views in the copy; None if they are not whole.
    """

    counter: int
    revision: int | None


class Bye(msgspec.Struct, frozen=True, array_like=True, tag="bye"):
    """Worker to owner: this process leaves by itself. The end of the queue follows."""


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
    """Why a command was refused: the code and the details of a `CommandError`.

    Attributes:
        code: The name of the error's class.
        message: Its text.
        details: Its fields.
        index: In an atomic batch, the place of the refused command, from 0.
    """

    code: str
    message: str
    details: dict[str, Any]
    index: int | None = None


class Answer(msgspec.Struct, frozen=True, array_like=True, tag="answer"):
    """Owner to worker: what became of a command.

    Attributes:
        number: The number of the command.
        result: The encoded result, nil when there is a failure; of a batch, the list of its `Outcome`s.
        failure: Why the command changed nothing, or None.
        revision: Number of the latest durable change when the command was applied.
    """

    number: int
    result: msgspec.Raw
    failure: Failure | None
    revision: int


class Outcome(msgspec.Struct, frozen=True, array_like=True):
    """What became of one command of a batch; the fields are those of an `Answer`."""

    result: msgspec.Raw
    failure: Failure | None


class Refused(msgspec.Struct, frozen=True, array_like=True, tag="refused"):
    """Owner to worker: a message could not be understood, so none of it was done."""

    reason: str


class Rows(msgspec.Struct, frozen=True, array_like=True):
    """Some rows of a view, each as an encoded pair of key and record; nil stands for none any more.

    Attributes:
        view: The name of the view.
        changed: They keep their places if they are there already.
        arrived: Each goes to the end, in this order, also if it is there already.
    """

    view: str
    changed: list[msgspec.Raw]
    arrived: list[msgspec.Raw]


class Snapshot(msgspec.Struct, frozen=True, array_like=True, tag="snapshot"):
    """Owner to worker: a piece of the views, while they go on changing. With the last piece the copy is complete.

    Attributes:
        counter: That of the `Follow` it answers.
        renewed: In the first piece, the views that are sent as a whole; the others are as they were. Else None.
        rows: Rows that take the place of what came before.
        complete: Whether this is the last piece.
        revision: Number of the latest durable change; it counts in the last piece.
        at_s: Instant on `CLOCK_MONOTONIC` at which it was said, in seconds.
    """

    counter: int
    renewed: list[str] | None
    rows: list[Rows]
    complete: bool
    revision: int
    at_s: float


class Update(msgspec.Struct, frozen=True, array_like=True, tag="update"):
    """Owner to worker: what has changed in the views, or an empty sign that the copy is up to date.

    Attributes:
        revision: Number of the latest durable change that it holds.
        rows: The rows that have changed.
        more: Another one follows, and they are to be seen together.
        at_s: As of a `Snapshot`.
    """

    revision: int
    rows: list[Rows]
    more: bool
    at_s: float


class Resync(msgspec.Struct, frozen=True, array_like=True, tag="resync"):
    """Owner to worker: updates are missing; follow anew."""


Numbered = Ask | Batch | Inspect | Watch | Sync
"""What is answered, by its number."""

ToOwner = Hello | Ask | Batch | Inspect | Watch | Sync | Cancel | Acked | Follow | Bye
ToWorker = Welcome | Answer | Refused | Snapshot | Update | Resync

encode = msgspec.msgpack.Encoder().encode

ONE = encode([None])[:1]
"""How a message of one frame begins: an encoded frame need not be copied into a list to be sent in one."""

decode_to_owner = msgspec.msgpack.Decoder(list[ToOwner]).decode
decode_to_worker = msgspec.msgpack.Decoder(list[ToWorker]).decode
decode_outcomes = msgspec.msgpack.Decoder(list[Outcome]).decode
