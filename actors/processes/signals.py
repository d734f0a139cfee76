"""The signals that a system obeys."""

from __future__ import annotations

import math
import os
import signal
import time
from typing import TYPE_CHECKING

from actors.exits import signal_name
from actors.processes.stacks import write_stacks_on_request

if TYPE_CHECKING:
    from actors.supervisor import Supervisor

HURRY_AFTER_S = 0.1
"""A second signal before this is the same wish: some programs signal a process and its group."""


def watch_signals(supervisor: Supervisor, budget_s: float) -> None:
    """Stop the system on SIGTERM and SIGINT, and hurry on the next one; write all stacks on SIGUSR1.

    To be called in the main thread.
    """
    write_stacks_on_request()
    read, write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    signal.set_wakeup_fd(write, warn_on_full_buffer=False)

    first_s = math.inf

    def wanted() -> None:
        nonlocal first_s
        number = os.read(read, 64)[0]
        now_s = time.monotonic()
        if first_s is math.inf:
            first_s = now_s
        elif now_s < first_s + HURRY_AFTER_S:
            return
        supervisor.stop(f"received {signal_name(number)}", budget_s)

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: None)
    supervisor.reactor.watch(read, wanted)
