"""A process that seems stuck can be asked where it is: on SIGUSR1 it writes the stacks of all its threads."""

from __future__ import annotations

import contextlib
import faulthandler
import signal
import sys
from collections.abc import Iterator

REQUEST = signal.SIGUSR1


def write_stacks_on_request() -> None:
    """From now on SIGUSR1 writes all stacks to standard error, and ends nothing; to be called in the main thread.

    The interpreter need not turn for that: it works while a thread computes without end or holds its lock for ever.
    """
    if sys.__stderr__ is None:  # then descriptor 2 may by now be anything, such as a queue
        signal.signal(REQUEST, signal.SIG_IGN)
    else:
        faulthandler.register(REQUEST, sys.__stderr__)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {REQUEST})


@contextlib.contextmanager
def request_held_back() -> Iterator[None]:
    """A process started in this block is not ended by an early SIGUSR1: it waits until the process can answer it."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {REQUEST})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
