"""Answers as they leave the owner: encoded, never too long, and always in words that can be sent."""

from __future__ import annotations

from typing import Any

import msgspec

from actors import frames
from actors.channel import DEFAULT_LIMIT
from actors.errors import CallError, CommandError, CommandFailed
from actors.frames import Failure

MAX_ANSWER_BYTES = DEFAULT_LIMIT - 64
"""A longer answer is refused instead of sent."""

MAX_REFUSAL_BYTES = 8 * 1024
"""A longer refusal of one command of a batch is shortened, so that there is room for all."""

_MAX_MESSAGE = 1_000
"""Longest text of an error whose details are too long to be sent, in characters."""

Encoded = tuple[int, int, bytes]
"""Session, number of the command, and the encoded Answer frame."""


class _Answer(msgspec.Struct, frozen=True, array_like=True, tag="answer"):
    """`frames.Answer` as it is encoded: the result in one go."""

    number: int
    result: Any
    failure: Failure | None
    revision: int


def encode_answer(number: int, result: Any, revision: int) -> bytes:
    """The Answer frame with a result.

    Raises:
        CommandFailed: It is too long.
        TypeError: The result cannot be encoded.
    """
    frame = frames.encode(_Answer(number, result, None, revision))
    if len(frame) > MAX_ANSWER_BYTES:
        raise CommandFailed(f"its answer has {len(frame):,} bytes, more than a message may have")
    return frame


def encode_failure(number: int, error: CallError, revision: int) -> bytes:
    """The Answer frame with a refusal."""
    return frames.encode(_Answer(number, None, failure_of(error), revision))


def failure_of(error: CallError, limit: int = MAX_ANSWER_BYTES) -> Failure:
    """An error as it travels; of one whose details cannot, because they are too long or of a foreign type, the text."""
    code, details = (error.code, error.details) if isinstance(error, CommandError) else (type(error).__name__, {})
    index = error.index if isinstance(error, CommandError) else None
    try:
        failure = Failure(code, str(error), details, index)
        if len(frames.encode(failure)) <= limit:
            return failure
    except (TypeError, ValueError, OverflowError, RecursionError):
        pass  # an error can quote what it refuses
    text = str(error)[:_MAX_MESSAGE].encode(errors="replace").decode()
    return Failure(CommandError.code, text, {"code": code}, index)
