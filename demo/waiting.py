"""Waiting for something that another process will do."""

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

INTERVAL_S = 0.01


def wait_for(look: Callable[[], T | None], timeout_s: float) -> T | None:
    """Look again and again until there is something to see.

    Args:
        look: Returns what is waited for, or `None` while it is not there.
        timeout_s: How long to go on, in seconds.

    Returns:
        The first value of `look` that is not `None`, or `None` if there was none in time.
    """
    deadline = time.monotonic() + timeout_s
    while True:
        seen = look()
        if seen is not None or time.monotonic() >= deadline:
            return seen
        time.sleep(INTERVAL_S)
