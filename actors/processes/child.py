"""The first code that runs in a process which the supervisor has started."""

from __future__ import annotations

import ctypes
import importlib
import os
import select
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

from actors.attach import attach
from actors.channel import Channel
from actors.errors import AttachFailed, MissingMainGuard, QueueClosed, SupervisorError
from actors.forks import LINEAGE
from actors.processes.control import Control, Failed, Ready, Start, ToChild, read_payload
from actors.processes.stacks import write_stacks_on_request

ORPHANED = 70
"""Exit code of a process that left because its supervisor is gone."""

_PR_SET_PDEATHSIG = 1

_MAX_REASON = 10_000
"""Longest reason for a failed start, in characters."""


class Child:
    """What a process has been given.

    Attributes:
        name: Its name.
        session: Number of its session with the owner, 0 if it has none.
        payload: Bytes from whoever asked for the process; their meaning is the target's.
        channel: Its end of the queue to the owner, or None.
        fds: Further descriptors it was given, in order.
        control: Its line to the supervisor.
    """

    def __init__(self, control: Control[ToChild], start: Start, fds: list[int]) -> None:
        self.name = start.name
        self.session = start.session
        self.control = control
        self.payload = read_payload(fds[0])
        self.channel = Channel.from_fd(fds[1]) if start.session else None
        self.fds = fds[2 if start.session else 1 :]
        self._attach = start.attach
        LINEAGE.watch(self)

    def ready(self) -> None:
        """Tell the supervisor that this process works; from now on its end counts as a crash."""
        self.control.send(Ready())

    def leave_with_supervisor(self) -> None:
        """Let a thread end this process as soon as the supervisor is gone."""
        threading.Thread(target=self._watch, name="supervisor-watch", daemon=True).start()

    def rejoin(self, timeout_s: float) -> Channel:
        """A session of its own for a process that this one has forked.

        Raises:
            AttachFailed: The system cannot be joined.
        """
        if not self._attach:
            raise AttachFailed("this system has no socket, so a forked process cannot join it")
        return attach(self._attach, timeout_s)

    def forked(self) -> None:
        """Let go of what is the parent's; see `Forkable`."""
        self.control.close()
        if self.channel is not None:
            self.channel.close()

    def end_after_supervisor(self, grace_s: float) -> None:
        """Let a thread end this process some seconds after the supervisor is gone, if it has not left by itself.

        For a process that reads its line itself: the thread only looks whether the other end is there.
        """
        threading.Thread(target=self._outlive, args=(grace_s,), name="supervisor-watch", daemon=True).start()

    def _outlive(self, grace_s: float) -> None:
        _hang_up_poll(self.control).poll()
        time.sleep(grace_s)
        os._exit(ORPHANED)

    def _watch(self) -> None:
        try:
            while True:
                self.control.receive(block=True)
        except QueueClosed:
            os._exit(ORPHANED)


def main(fd: int) -> None:
    """Run what the supervisor wants; `fd` is the line to it."""
    write_stacks_on_request()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the terminal's Ctrl-C is for the supervisor, which tells us
    control: Control[Any] = Control(socket.socket(fileno=fd), ToChild)
    try:
        received = control.receive(block=True)
    except QueueClosed:
        sys.exit(ORPHANED)
    assert received is not None  # noqa: S101 - a blocking receive
    start, fds = received
    if start.orphaned_by:
        _die_with_supervisor(control, start.orphaned_by)
    target = _find(start.target)
    try:
        target(Child(control, start, fds))
    except SupervisorError as error:
        # The script will not have changed by the next life.
        control.send(Failed(str(error)[:_MAX_REASON], hopeless=isinstance(error, MissingMainGuard)))
        sys.exit(1)


def _die_with_supervisor(control: Control[Any], number: int) -> None:
    """Let the kernel signal this process when its parent dies, even if it is stuck and its threads do not run.

    A worker is killed. The owner needs a moment to close its journal: SIGCONT only wakes it, if it was stopped, to see
    that its line has ended. The kernel watches the *thread* that started this process: the supervisor starts all from
    its main thread, but is itself started from any thread of a user's program, and so is never signalled like this.
    """
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, number)
    if _hang_up_poll(control).poll(0):  # the supervisor died before the kernel was told to watch it
        sys.exit(ORPHANED)


def _hang_up_poll(control: Control[Any]) -> select.poll:
    """Waits for the end of the other side of a line, and for nothing else."""
    line = select.poll()
    line.register(control.fileno(), 0)
    return line


def _find(path: str) -> Callable[[Child], None]:
    module, _, name = path.partition(":")
    found: Callable[[Child], None] = getattr(importlib.import_module(module), name)
    return found
