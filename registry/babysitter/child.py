"""The AI server's processes, as the babysitter holds them: by a line to the guardian above them."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, NamedTuple

import msgspec

from actors.exits import Exit
from registry.babysitter import guardian
from registry.babysitter.errors import CannotStart

_AGAIN_S = 0.05


class Order(msgspec.Struct, frozen=True):
    """What is run.

    Attributes:
        argv: The program and its arguments; no shell looks at them.
        cwd: Where it runs; None for where the babysitter does.
        env: Its whole environment.
    """

    argv: Sequence[str]
    cwd: str | None
    env: Mapping[str, str]


class Child:
    """One life of an AI server with all the processes that it starts.

    Made by `start`. Its output goes where the babysitter's own goes: there is no pipe between that could fill up.

    Attributes:
        pid: Id of the command's process.
        ended: How the command ended, as soon as it has; None if that is not known, since the guardian was killed.
    """

    def __init__(self, started: _Guardian, lines: asyncio.StreamReader, pid: int) -> None:
        self._process = started.process
        self._others = started.others
        self._down = started.down
        self._lines = lines
        self.pid = pid
        self.ended: asyncio.Future[Exit | None] = asyncio.get_running_loop().create_future()
        self._gone = asyncio.create_task(self._follow())

    @classmethod
    async def start(cls, order: Order) -> Child:
        """Start the command.

        Raises:
            CannotStart: It is not there, or is no program.
        """
        started = _start_guardian()
        lines = asyncio.StreamReader()
        loop = asyncio.get_running_loop()
        await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(lines), started.up)
        _send_order(started.down, order)
        said = await _next(lines)
        if "pid" in said:
            return cls(started, lines, int(str(said["pid"])))
        os.close(started.down)
        started.process.kill()
        started.process.wait()
        raise CannotStart(order.argv[0], str(said.get("error", "its guardian was killed")))

    def terminate(self) -> None:
        """Ask all its processes to end."""
        self._send(guardian.TERMINATE)

    def kill(self) -> None:
        """Kill all its processes."""
        self._send(guardian.KILL)

    async def gone(self) -> None:
        """Wait until none of its processes is left."""
        await asyncio.shield(self._gone)

    async def stop(self, grace_s: float) -> None:
        """End all its processes, and wait until they are gone.

        Args:
            grace_s: How long they may take; then they are killed.
        """
        self.terminate()
        await asyncio.wait([self._gone], timeout=grace_s)
        if not self._gone.done():
            self.kill()
        await self.gone()

    async def _follow(self) -> None:
        """Read what the guardian says to its end."""
        while said := await _next(self._lines):
            if "ended" in said and not self.ended.done():
                self.ended.set_result(_exit(int(str(said["ended"]))))
        down, self._down = self._down, -1
        os.close(down)
        if self._process.wait() != 0:
            await self._sweep()
        if not self.ended.done():
            self.ended.set_result(None)

    async def _sweep(self) -> None:
        """Kill what a killed guardian has left: the babysitter has taken it in."""
        while left := set(guardian.descendants()) - self._others:
            for pid in left:
                with contextlib.suppress(OSError):  # it has ended meanwhile
                    os.kill(pid, signal.SIGKILL)
            guardian.reap()
            await asyncio.sleep(_AGAIN_S)

    def _send(self, what: bytes) -> None:
        if self._down != -1:
            self._process.send_signal(signal.SIGCONT)  # somebody may have stopped it
            with contextlib.suppress(BrokenPipeError):  # it has just ended by itself
                os.write(self._down, what)


class _Guardian(NamedTuple):
    """A guardian that was just started.

    Attributes:
        process: Its process.
        down: Our end of the pipe to it.
        up: Our end of the pipe from it.
        others: Processes below us that were there before and are none of ours, such as those of a shell whose place
            the babysitter has taken by `exec`.
    """

    process: subprocess.Popen[bytes]
    down: int
    up: IO[bytes]
    others: set[int]


def _start_guardian() -> _Guardian:
    """Start one; it outlives us for a moment if we are killed, since it has a session of its own."""
    others = set(guardian.descendants())
    down_theirs, down = os.pipe()
    up, up_theirs = os.pipe()
    try:
        # Isolated and without site packages: nothing of the server's environment or directory changes what it runs.
        process = subprocess.Popen(
            [sys.executable, "-I", "-S", str(Path(guardian.__file__)), str(down_theirs), str(up_theirs)],
            stdin=subprocess.DEVNULL,
            pass_fds=(down_theirs, up_theirs),
            start_new_session=True,
        )
    except OSError as error:
        os.close(down)
        os.close(up)
        raise CannotStart(sys.executable, error.strerror or str(error)) from None
    finally:
        os.close(down_theirs)
        os.close(up_theirs)
    return _Guardian(process, down, os.fdopen(up, "rb", 0), others)


def _send_order(down: int, order: Order) -> None:
    # What is no UTF-8 in an argument or the environment is a lone surrogate here, which only this encoder takes.
    rest = json.dumps({"argv": list(order.argv), "cwd": order.cwd, "env": dict(order.env)}).encode() + b"\n"
    with contextlib.suppress(BrokenPipeError):  # it was killed, which is seen when it says nothing
        while rest:
            rest = rest[os.write(down, rest) :]


async def _next(lines: asyncio.StreamReader) -> dict[str, object]:
    """The guardian's next line; empty at its end."""
    line = await lines.readline()
    if not line.endswith(b"\n"):
        return {}
    said: dict[str, object] = json.loads(line)
    return said


def _exit(status: int) -> Exit:
    code = os.waitstatus_to_exitcode(status)
    return Exit(None, -code) if code < 0 else Exit(code, None)
