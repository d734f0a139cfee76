"""A child process as the supervisor holds it: started clean, watched by its pidfd, ended for certain."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Generic, TypeVar

from actors.exits import Exit
from actors.processes.control import Control, Start, payload_fd
from actors.processes.stacks import request_held_back

T = TypeVar("T")

_BOOTSTRAP = "import sys; sys.path[:] = sys.argv[2:]; from actors.processes.child import main; main(int(sys.argv[1]))"
"""A fresh interpreter that imports this package's entry module and nothing that the caller's script imports."""


class Process(Generic[T]):
    """A running child; `T` is the type of what it says over its control line.

    Args:
        start: Who it is.
        payload: Bytes for its target.
        fds: Its queue if it has a session, then whatever else it needs; they stay the caller's to close.
        says: The type of what it says.

    Raises:
        OSError: The machine has no room for another process or descriptor.
    """

    def __init__(self, start: Start, payload: bytes, fds: Sequence[int], says: Any) -> None:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.name = start.name
        self.control: Control[T] = Control(ours, says)
        with contextlib.ExitStack() as undo:
            undo.callback(self.control.close)
            with theirs, payload_fd(payload) as memory, request_held_back():
                self.control.send(start, [memory, *fds])
                self._popen = subprocess.Popen(
                    [sys.executable, "-c", _BOOTSTRAP, str(theirs.fileno()), *_import_path()],
                    pass_fds=[theirs.fileno()],
                    stdin=subprocess.DEVNULL,
                    process_group=0,
                )
            undo.callback(self._popen.wait)
            undo.callback(self._popen.kill)
            self.pid = self._popen.pid
            self.pidfd = os.pidfd_open(self.pid)
            undo.pop_all()

    def kill(self, number: signal.Signals) -> None:
        """Send a signal to this process and no other, whatever has become of its number."""
        with contextlib.suppress(ProcessLookupError):  # it ended meanwhile; the pidfd tells
            signal.pidfd_send_signal(self.pidfd, number)

    def reap(self) -> Exit:
        """Take leave of a process whose pidfd says that it has ended."""
        code = self._popen.wait()
        self._close()
        return Exit(None, -code) if code < 0 else Exit(code, None)

    def disown(self) -> None:
        """In a child that was just forked: let go of a process that is its parent's."""
        self._close()
        self._popen.returncode = 0  # nobody here can wait for it, nor shall it be missed

    def _close(self) -> None:
        pidfd, self.pidfd = self.pidfd, -1
        if pidfd >= 0:
            os.close(pidfd)
        self.control.close()


def _import_path() -> list[str]:
    """Where this process imports from; the empty entry stands for its working directory."""
    return [str(Path(entry).absolute()) for entry in sys.path]
