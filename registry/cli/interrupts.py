"""What Ctrl-C does while a command has not begun, or has ended."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager

INTERRUPTED = 130
"""Exit code after Ctrl-C, as a shell has it."""


def end_on_interrupt() -> None:
    """Let Ctrl-C end this process at once and without a word; where it was ignored it still is.

    For commands that leave nothing to undo, and for the time in which modules are loaded: there a `KeyboardInterrupt`
    could come out of any line, also of those whose errors Python prints itself, since nobody can catch them.
    """
    if signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:
        signal.signal(signal.SIGINT, _end)


@contextmanager
def interrupts_raised() -> Iterator[None]:
    """Let Ctrl-C raise `KeyboardInterrupt` for the time of the block, since something is made there that is undone."""
    before = signal.getsignal(signal.SIGINT)
    if before is not _end:
        yield
        return
    signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _end(*_: object) -> None:
    os._exit(INTERRUPTED)
