"""Waiting for something that other processes do, without guessing how long they take."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

PATIENCE_S = 10.0
INTERVAL_S = 0.01


def until(condition: Callable[[], T], what: str, within_s: float = PATIENCE_S) -> T:
    """Ask again and again until the answer is truthy, and return it; fails the test at the deadline.

    Args:
        condition: What is asked.
        what: What is waited for, in words.
        within_s: Longest wait in seconds.
    """
    deadline = time.monotonic() + within_s
    while not (answer := condition()):
        assert time.monotonic() < deadline, f"not within {within_s:g} s: {what}; the last answer was {answer!r}"
        time.sleep(INTERVAL_S)  # between two looks; what ends the wait is the answer, never the time
    return answer
