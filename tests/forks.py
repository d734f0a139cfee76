"""Functions that run in a process of their own: forked, so that a test may kill many of them."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import psutil

from tests.polling import until


class Fork:
    """A function in a forked process, which ends with code 0, or 1 if it raises.

    Args:
        function: What it does.
    """

    def __init__(self, function: Callable[[], object]) -> None:
        self._code: int | None = None
        self.pid = os.fork()
        if not self.pid:
            code = 1
            try:
                function()
                code = 0
            finally:
                os._exit(code)

    def kill(self, number: signal.Signals = signal.SIGKILL) -> None:
        """Send it a signal."""
        os.kill(self.pid, number)

    def ends(self) -> int:
        """Wait for its end; its exit code, or the negative number of the signal that ended it."""
        if self._code is None:
            self._code = os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])
        return self._code

    def waits(self) -> None:
        """Wait until it waits for something."""
        until(lambda: psutil.Process(self.pid).status() == psutil.STATUS_SLEEPING, "the process waits")

    def stops(self) -> None:
        """Stop it by SIGSTOP, and wait until it has stopped."""
        self.kill(signal.SIGSTOP)
        self.is_stopped()

    def is_stopped(self) -> None:
        """Wait until it has stopped."""
        until(lambda: psutil.Process(self.pid).status() == psutil.STATUS_STOPPED, "the process has stopped")

    def close(self) -> None:
        """Kill it, if it still runs."""
        if self._code is None:
            self.kill()
            self.ends()


@contextmanager
def forked(function: Callable[[], object]) -> Iterator[Fork]:
    """Run a function in a forked process, which does not outlive the block."""
    fork = Fork(function)
    try:
        yield fork
    finally:
        fork.close()
