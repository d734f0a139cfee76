"""The guardian: a small program between the babysitter and the AI server, so that no process is ever left behind.

It takes in every orphan below it (Linux calls it a child subreaper), so whatever the server's command starts, also what
leaves its process group or its parent, stays below the guardian and is found there. When the babysitter dies, in
whatever way, the line to it ends, and the guardian kills all that is below it. It is a program of its own
and imports nothing but the standard library, so that it is there in a moment.

Its lines, both pipes, and what goes over them:

    from the babysitter   a line of JSON: {"argv": [...], "cwd": ... or null, "env": {...}}, then single bytes:
                          T  SIGTERM for all below        K  SIGKILL for all below, until nothing is left
    to the babysitter     lines of JSON: {"pid": ...} or {"error": "..."}, then {"ended": wait status} as soon as the
                          command itself has ended; the end of the line says that nothing of it is left
"""

from __future__ import annotations

import ctypes
import json
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

TERMINATE = b"T"
KILL = b"K"

REST_S = 2.0
"""How long the rest of the command's processes may take to end once the command itself has."""

_AGAIN_S = (0.01, 0.5)
"""Shortest and longest time between two rounds of killing: what the kernel holds on to cannot be hurried."""

_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36


def adopt_orphans() -> None:
    """Become the parent of every process below this one whose own parent ends."""
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def descendants() -> list[int]:
    """Ids of all processes below this one, parents before children."""
    below: dict[int, list[int]] = {}
    for name in os.listdir("/proc"):  # noqa: PTH208 - `pathlib` takes longer to load than all the rest
        if name.isdigit():
            try:
                with open(f"/proc/{name}/stat", "rb") as file:  # noqa: PTH123 - the same
                    # The name of a program, in parentheses, may hold anything.
                    parent = int(file.read().rpartition(b")")[2].split()[1])
            except (OSError, IndexError):
                continue  # it has ended meanwhile
            below.setdefault(parent, []).append(int(name))
    found = [os.getpid()]
    for pid in found:
        found.extend(below.get(pid, ()))
    return found[1:]


def signal_descendants(*numbers: signal.Signals) -> None:
    """Send signals to all processes below this one."""
    for pid in descendants():
        for number in numbers:
            try:
                os.kill(pid, number)
            except OSError:
                break  # it has ended meanwhile, or belongs to somebody else


def reap() -> tuple[dict[int, int], bool]:
    """Take note of children that have ended; returns their wait statuses by id, and whether any child is left."""
    ended: dict[int, int] = {}
    while True:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return ended, False
        if pid == 0:
            return ended, True
        ended[pid] = status


class Guardian:
    """Runs one command until nothing of it is left.

    Args:
        down: The end of a pipe from the babysitter.
        up: The end of a pipe to it.
    """

    def __init__(self, down: int, up: int) -> None:
        self._down = down
        self._up = up
        self._command: subprocess.Popen[bytes] | None = None
        self._stopping = False
        self._kill_at = float("inf")
        self._again_s = _AGAIN_S[0]
        wake, alarm = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self._wake = wake
        signal.set_wakeup_fd(alarm, warn_on_full_buffer=False)
        self._wait = select.poll()
        self._wait.register(wake, select.POLLIN)
        self._wait.register(down, select.POLLIN)

    def run(self) -> None:
        """Take the order, carry it out, and come back when all is over."""
        order = self._order()
        if order is None or not self._start(order):
            return
        while self._is_anything_left():
            if time.monotonic() >= self._kill_at:
                signal_descendants(signal.SIGKILL)
                self._kill_at = time.monotonic() + self._again_s
                self._again_s = min(_AGAIN_S[1], 2 * self._again_s)
            self._listen()

    def _order(self) -> dict[str, Any] | None:
        """What to run; None if the babysitter ended before it had said so."""
        read = b""
        while not read.endswith(b"\n"):
            part = os.read(self._down, 65_536)
            if not part:
                return None
            read += part
        order: dict[str, Any] = json.loads(read)
        return order

    def _start(self, order: dict[str, Any]) -> bool:
        try:
            self._command = subprocess.Popen(
                order["argv"],
                cwd=order["cwd"],
                env=order["env"],
                start_new_session=True,
                preexec_fn=_die_with(os.getpid()),  # noqa: PLW1509 - this process has one thread
            )
        except (OSError, ValueError, subprocess.SubprocessError) as error:
            reason = error.strerror if isinstance(error, OSError) else None
            self._tell({"error": reason or str(error)})
            return False
        self._tell({"pid": self._command.pid})
        return True

    def _is_anything_left(self) -> bool:
        ended, left = reap()
        if self._command is not None and self._command.pid in ended:
            self._tell({"ended": ended[self._command.pid]})
            if left and not self._stopping:
                signal_descendants(signal.SIGTERM, signal.SIGCONT)
                self._kill_at = time.monotonic() + REST_S
        return left

    def _listen(self) -> None:
        """Wait until a child has ended, the babysitter wants something, or it is time to kill."""
        wait_s = self._kill_at - time.monotonic()
        for fd, _ in self._wait.poll(None if wait_s == float("inf") else max(0.0, wait_s) * 1000 + 1):
            read = os.read(fd, 4096)
            if fd == self._wake:
                continue
            if not read:
                self._wait.unregister(fd)
            if not read or KILL in read:
                self._stopping = True
                self._kill_at = 0.0
            elif TERMINATE in read:
                self._stopping = True
                # A process that was stopped would otherwise keep the signal for later.
                signal_descendants(signal.SIGTERM, signal.SIGCONT)

    def _tell(self, what: dict[str, object]) -> None:
        try:
            os.write(self._up, json.dumps(what).encode() + b"\n")
        except BrokenPipeError:
            self._kill_at = 0.0  # nobody is there any more


def _die_with(guardian: int) -> Callable[[], None]:
    """What the command's process does before it becomes the command: see that it is killed if the guardian dies."""
    libc = ctypes.CDLL(None, use_errno=True)

    def prepare() -> None:
        libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        if os.getppid() != guardian:  # it died before the kernel was told to watch it
            os._exit(1)

    return prepare


def main() -> None:
    """The program: its arguments are the numbers of the two descriptors."""
    down, up = (int(number) for number in sys.argv[1:3])
    for fd in (down, up):
        os.set_inheritable(fd, False)
    # Whoever signals all processes of a service means the babysitter, which tells us. Handlers, since an ignored signal
    # would be ignored by the command too. The one of SIGCHLD lets the wait end.
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGCHLD):
        signal.signal(number, lambda *_: None)
    # If it was stopped, it would otherwise never learn that the babysitter has died.
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGCONT, 0, 0, 0)
    adopt_orphans()
    Guardian(down, up).run()


if __name__ == "__main__":
    main()
