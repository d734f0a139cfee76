"""What the owner remembers of a session: the answers that it may have to give once more."""

from __future__ import annotations

from collections.abc import Iterable

from actors.ranges import Range, Ranges

MAX_STORED_BYTES = 32 * 1024 * 1024
"""Answers that a session has not acknowledged may take this much memory; then it is refused until it does."""

_ANSWER_OVERHEAD_BYTES = 200
"""Memory that a stored answer takes besides its bytes."""


class Peer:
    """A session.

    Attributes:
        answers: The encoded Answer frames it has not acknowledged, by number.
        acknowledged: The numbers that it has.
        stored_bytes: Memory that the answers take.
    """

    __slots__ = ("acknowledged", "answers", "stored_bytes")

    def __init__(self, acknowledged: Iterable[Range] = ()) -> None:
        self.acknowledged = Ranges(acknowledged)
        self.answers: dict[int, bytes] = {}
        self.stored_bytes = 0

    @property
    def is_full(self) -> bool:
        """Whether it must acknowledge something before it may ask for more."""
        return self.stored_bytes > MAX_STORED_BYTES

    def store(self, number: int, answer: bytes) -> None:
        """Keep an answer until it is acknowledged."""
        self.answers[number] = answer
        self.stored_bytes += len(answer) + _ANSWER_OVERHEAD_BYTES

    def drop(self, number: int) -> None:
        """Forget an answer, if there is one."""
        answer = self.answers.pop(number, None)
        if answer is not None:
            self.stored_bytes -= len(answer) + _ANSWER_OVERHEAD_BYTES

    def acknowledge(self, number: int) -> None:
        """All answers up to this number have arrived."""
        self.acknowledged.raise_to(number)
        answers = self.answers
        while answers:  # not with `drop`: most commands come by here
            first = next(iter(answers))
            if first > number:
                return
            self.stored_bytes -= len(answers.pop(first)) + _ANSWER_OVERHEAD_BYTES

    def acknowledge_ranges(self, ranges: list[Range]) -> None:
        """The answers in these ranges have arrived."""
        for first, last in ranges:
            self.acknowledged.add_range(max(first, 1), last)
        for number in [number for number in self.answers if number in self.acknowledged]:
            self.drop(number)
