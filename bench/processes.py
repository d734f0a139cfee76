"""Other processes for a benchmark, none of which outlives it, however it ends."""

from __future__ import annotations

import ctypes
import multiprocessing
import os
import signal
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from multiprocessing import resource_tracker
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

SPAWN = multiprocessing.get_context("spawn")
"""`fork` would copy the threads' locks of the benchmark; `spawn` starts clean, as the runtime does."""

_PR_SET_PDEATHSIG = 1


class Peers(ExitStack):
    """The other processes of a benchmark; at the end of the `with` block they are killed."""

    def __init__(self) -> None:
        super().__init__()
        # An interrupt in the midst of a start may leave one that nobody has taken note of yet.
        self.callback(_end_all)

    def start(self, function: Callable[..., object], *args: Any) -> BaseProcess:
        """Run a module-level function in a process of its own."""
        process = SPAWN.Process(target=_run, args=(function, args), daemon=True)
        with without_interrupts():
            process.start()
        self.callback(end, process)
        return process


def end(process: BaseProcess) -> None:
    """Kill a process and wait until it is gone; it may be gone already."""
    process.kill()
    process.join()


def _end_all() -> None:
    for process in multiprocessing.active_children():
        end(process)


@contextmanager
def without_interrupts() -> Iterator[None]:
    """What is started meanwhile never sees the terminal's Ctrl-C; signals that arrive here wait until afterwards."""
    # The tracker's own start would unblock the signal again, so it comes before.
    resource_tracker.ensure_running()
    arrived: list[int] = []
    # Blocking alone would not do: another thread takes the signal, and its handler runs in this one all the same.
    handlers = {
        number: signal.signal(number, lambda number, _: arrived.append(number))
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    }
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
        for number, handler in handlers.items():
            signal.signal(number, handler)
        for late in arrived:
            signal.raise_signal(late)


def stop(until: ExitStack, *pids: int) -> None:
    """Stop processes; they go on where `resumed` lets them, and at the end of the stack, so that they can be ended."""
    until.callback(_signal, pids, signal.SIGCONT)
    _signal(pids, signal.SIGSTOP)


@contextmanager
def resumed(pids: Sequence[int]) -> Iterator[None]:
    """Let stopped processes go on for the length of a block."""
    _signal(pids, signal.SIGCONT)
    try:
        yield
    finally:
        _signal(pids, signal.SIGSTOP)


def _signal(pids: Sequence[int], number: signal.Signals) -> None:
    for pid in pids:
        with suppress(ProcessLookupError):  # ended with everything else
            os.kill(pid, number)


def cores() -> list[int]:
    """The processor cores that this process may use."""
    return sorted(os.sched_getaffinity(0))


@contextmanager
def on_core(core: int) -> Iterator[None]:
    """Keep this process, and what it starts meanwhile, on one processor core."""
    before = os.sched_getaffinity(0)
    _move({core})
    try:
        yield
    finally:
        _move(before)


def _move(to: set[int]) -> None:
    for thread in Path("/proc/self/task").iterdir():
        with suppress(ProcessLookupError):
            os.sched_setaffinity(int(thread.name), to)


def end_with_parent() -> None:
    """Let the kernel kill this process when the benchmark is gone without having ended it; even if it is stopped."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    parent = multiprocessing.parent_process()
    if parent is not None and not parent.is_alive():  # it went before the kernel was told
        os._exit(1)


def _run(function: Callable[..., object], args: tuple[Any, ...]) -> None:
    end_with_parent()
    function(*args)
