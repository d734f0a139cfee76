"""Programs that start processes of their own, and the certainty that none of these is left."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import tempfile
import uuid
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import psutil

from tests.polling import until

ROOT = Path(__file__).resolve().parents[1]
MARK = "ACTOR_REGISTRY_TEST_RUN"


def running(pids: Collection[int]) -> list[int]:
    """Those of some processes that run; one that waits to be reaped does not."""
    found = []
    for pid in pids:
        try:
            if psutil.Process(pid).status() != psutil.STATUS_ZOMBIE:
                found.append(pid)
        except psutil.NoSuchProcess:
            continue
    return found


def open_files() -> list[str]:
    """What each descriptor of this process stands for, as Linux names it."""
    found = []
    for link in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):  # closed meanwhile, as the one by which the links are listed
            found.append(str(link.readlink()))
    return found


class Program:
    """A Python program in a process of its own; it and all its descendants are known by a mark in their environment.

    Args:
        arguments: What follows the interpreter's name.
        extra: Variables to add to the environment.
    """

    def __init__(self, arguments: Sequence[str], **extra: str) -> None:
        self._mark = uuid.uuid4().hex
        # Files, not pipes: nobody need read them for the program to go on.
        self._stderr = tempfile.TemporaryFile()  # noqa: SIM115 - closed by `close`
        self._stdout = tempfile.TemporaryFile()  # noqa: SIM115 - the same
        environment = {name: value for name, value in os.environ.items() if not name.startswith("ACTOR_REGISTRY_")}
        self.process = subprocess.Popen(
            [sys.executable, *arguments],
            cwd=ROOT,
            env={**environment, "PYTHONPATH": str(ROOT), "COLUMNS": "200", **extra, MARK: self._mark},
            stdin=subprocess.DEVNULL,
            stdout=self._stdout,
            stderr=self._stderr,
        )

    @property
    def stdout(self) -> str:
        """What it has printed so far."""
        return os.pread(self._stdout.fileno(), 2**24, 0).decode()

    @property
    def stderr(self) -> str:
        """What it has complained of so far."""
        return os.pread(self._stderr.fileno(), 2**24, 0).decode()

    def address(self) -> str:
        """Where a server says in its log that it serves; empty before."""
        assert self.process.poll() is None, self.stderr
        line = next((line for line in self.stderr.splitlines() if "serving on http://" in line), "")
        return line and "http://" + line.partition("serving on http://")[2].split()[0].strip('",')

    def pid(self, name: str) -> int:
        """The process id that a server last told of one of its processes."""
        last = self.stderr.rpartition(f"{name} is ready (pid ")[2]
        return int(last.partition(")")[0])

    def descendants(self) -> list[int]:
        """Ids of the processes with its mark that run, without its own."""
        return [
            process.pid
            for process in psutil.process_iter()
            if process.pid != self.process.pid and self._is_marked(process)
        ]

    def _is_marked(self, process: psutil.Process) -> bool:
        try:
            return process.environ().get(MARK) == self._mark and process.status() != psutil.STATUS_ZOMBIE
        except psutil.Error:
            return False

    def kill(self, number: signal.Signals = signal.SIGKILL) -> None:
        """Send a signal to the program alone."""
        self.process.send_signal(number)

    def ends(self, within_s: float = 20.0) -> int:
        """Wait for its end; its exit code."""
        try:
            return self.process.wait(within_s)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"it has not ended within {within_s:g} s; it said:\n{self.stderr}") from None

    def leaves_nothing_running(self, within_s: float = 5.0) -> None:
        """Fail the test unless all its descendants are soon gone."""
        until(lambda: not self.descendants(), "all processes of the program are gone", within_s)

    def close(self) -> None:
        """Kill whatever of it is left."""
        self.process.kill()
        self.process.wait()
        with contextlib.suppress(AssertionError):  # they leave by themselves, and clean up behind them
            self.leaves_nothing_running(3.0)
        for pid in self.descendants():
            os.kill(pid, signal.SIGKILL)
        self._stdout.close()
        self._stderr.close()


@contextmanager
def program(*arguments: str, **extra: str) -> Iterator[Program]:
    """A program that runs in the background; nothing of it outlives the block."""
    one = Program(arguments, **extra)
    try:
        yield one
    finally:
        one.close()
