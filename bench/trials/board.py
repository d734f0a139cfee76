"""A page of numbers that the processes of a trial share: each writes what it knows in a slot of its own.

It is a file that all map. What a process wrote there outlives its death, and nobody waits for anybody: there is no
lock, each word has one writer.
"""

from __future__ import annotations

import mmap
import os
from enum import IntEnum
from pathlib import Path
from typing import Self

BACKENDS = 4
"""Backends on which the callers count."""

OWN_BACKENDS = 8
"""Backends that each caller adds and removes."""

MAX_LEASES = 8
"""Leases that a caller holds at most."""

SLOTS = 32
WORDS = 32
_WORD_BYTES = 8


class Common(IntEnum):
    """The words that the benchmark writes for all, in a slot of its own."""

    PHASE = 0
    """Odd: be quiet; even: go on; `END`: finish."""
    LIFE = 1
    """Rises with each kill; a caller begins to look for its longest wait anew."""


END = -1


class Word(IntEnum):
    """The words of a process."""

    PID = 0
    ANSWERS = 1
    """How many of its calls were answered."""
    ERRORS = 2
    """How many raised an error."""
    QUIET = 3
    """The phase in which it was quiet last."""
    WAIT_NS = 4
    """Its longest time between two answers in this life."""
    WAIT_END_NS = 5
    """When that ended, on `CLOCK_MONOTONIC`."""
    TOTAL = 6
    """Requests that it has counted as ended."""
    DURABLE = 7
    """Durable changes it has made."""
    OWN = 8
    """Which of its own backends are there, one bit each."""
    CHANGING = 9
    """1 + the number of its own backend that it is about to add or remove; 0 for none."""
    HELD = 10
    """How many of its increments are on each backend."""
    LEASES = HELD + BACKENDS
    """Numbers of its leases, 0 where there is none."""


class Board:
    """The page.

    Args:
        path: The file.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        fd = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        try:
            self._map = mmap.mmap(fd, 0)
        finally:
            os.close(fd)
        self._words = memoryview(self._map).cast("q")

    @classmethod
    def create(cls, path: Path) -> Self:
        """A new file, all zero."""
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        os.ftruncate(fd, (SLOTS + 1) * WORDS * _WORD_BYTES)
        os.close(fd)
        return cls(path)

    def slot(self, number: int) -> memoryview[int]:
        """The words of a process."""
        start = (number + 1) * WORDS
        return self._words[start : start + WORDS]

    @property
    def common(self) -> memoryview[int]:
        """The words for all."""
        return self._words[:WORDS]
