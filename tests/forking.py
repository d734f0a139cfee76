"""Forked children of the test's own process, which do something and tell what came of it."""

from __future__ import annotations

import os
import signal
import traceback
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import msgspec
import psutil

from tests.polling import until


class Forked:
    """A child of this process that was forked and runs a function; its result is plain data.

    Args:
        function: What it does.
    """

    def __init__(self, function: Callable[[], Any]) -> None:
        self._read, write = os.pipe()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # threads run: that is what these tests are about
            self.pid = os.fork()
        if not self.pid:
            os.close(self._read)
            _live(function, write)
        os.close(write)
        self._reaped = False

    def result(self) -> Any:
        """Wait for its end; what the function returned. A failure in it is one here."""
        with os.fdopen(self._read, "rb") as pipe:
            data = pipe.read()
        self.reap()
        assert data, f"the forked process {self.pid} ended without a word"
        failure, value = msgspec.msgpack.decode(data, type=tuple[str | None, Any])
        assert failure is None, failure
        return value

    @property
    def has_ended(self) -> bool:
        """Whether it has nothing more to do; it waits to be reaped."""
        return os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None

    def kill(self) -> int:
        """End it at once, and take leave of it; its exit code, negative for a signal."""
        os.kill(self.pid, signal.SIGKILL)
        code = self.reap()
        os.close(self._read)
        return code

    def send(self, number: signal.Signals) -> None:
        """Send it a signal that does not end it."""
        os.kill(self.pid, number)

    def stop(self) -> None:
        """Stop it by SIGSTOP, and wait until it has stopped."""
        self.send(signal.SIGSTOP)
        self.wait_until(psutil.STATUS_STOPPED)

    def wait_until(self, status: str) -> None:
        """Wait until the machine says that it sleeps, has stopped, or whatever."""
        until(lambda: psutil.Process(self.pid).status() == status, f"the process is {status}")

    def close(self) -> None:
        """Kill it, if nobody has taken leave of it."""
        if not self._reaped:
            self.kill()

    def reap(self) -> int:
        """Take leave of it; its exit code, negative for a signal."""
        assert not self._reaped
        self._reaped = True
        return os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])


def _live(function: Callable[[], Any], write: int) -> None:
    """The child's whole life; nothing of the test's process runs in it afterwards."""
    signal.signal(signal.SIGALRM, signal.SIG_DFL)  # pytest has a handler of its own
    signal.alarm(60)  # a child that hangs must not outlive its test for long
    try:
        answer = msgspec.msgpack.encode((None, function()))
    except BaseException:  # noqa: BLE001 - whatever it is, the test is told
        answer = msgspec.msgpack.encode((traceback.format_exc(), None))
    os.write(write, answer)
    os._exit(0)


@contextmanager
def forked(function: Callable[[], Any]) -> Iterator[Forked]:
    """Run a function in a forked child, which does not outlive the block."""
    child = Forked(function)
    try:
        yield child
    finally:
        child.close()


def in_fork(function: Callable[[], Any]) -> Any:
    """What a function returns in a forked child."""
    return Forked(function).result()
