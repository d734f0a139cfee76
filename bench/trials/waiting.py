"""Waiting for what other processes do."""

from __future__ import annotations

import time
from collections.abc import Callable

PATIENCE_S = 15.0
"""How long an answer may take: more than the deadline of any call."""

LOOK_S = 0.001
"""Between two looks."""


def wait_until(condition: Callable[[], object], within_s: float = PATIENCE_S) -> bool:
    """Whether something comes true in time."""
    deadline = time.monotonic() + within_s
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(LOOK_S)
    return True
