"""Writing a log that perhaps nobody reads: who logs goes on all the same."""

from __future__ import annotations

import contextlib
import logging
import os
import queue
import select
import threading
import time

MOST_LINES = 1_000
"""How many lines wait until they can be written."""

LAST_S = 1.0
"""How long the end waits for that."""


class LogWriter(logging.Handler):
    """Writes lines in a thread of its own, so that no full pipe and no stopped terminal holds up who logs.

    When too many lines wait, further ones are dropped until those are written; then a line says how many there were.

    Args:
        fd: The descriptor to write to.
        most: How many lines may wait.
    """

    def __init__(self, fd: int, most: int = MOST_LINES) -> None:
        super().__init__()
        self._fd = fd
        self._lines: queue.Queue[str | None] = queue.Queue(most)
        self._dropped = 0
        # Not the handler's own lock: `logging.shutdown` holds that while it waits for the thread.
        self._counting = threading.Lock()
        self._ending = False
        self._thread = threading.Thread(target=self._run, name="log-writer", daemon=True)
        self._thread.start()

    def emit(self, record: logging.LogRecord) -> None:
        """Have a line written."""
        try:
            line = self.format(record)
        except Exception:  # noqa: BLE001 - a mistake in a log call is no reason to fail, here as in all handlers
            self.handleError(record)
            return
        with self._counting:
            with contextlib.suppress(queue.Full):
                if not self._dropped:
                    self._lines.put_nowait(line)
                    return
            self._dropped += 1

    def close(self) -> None:
        """Wait a moment until all is written; what is not by then never will be."""
        super().close()
        if self._ending:
            return
        self._ending = True
        until_s = time.monotonic() + LAST_S
        with contextlib.suppress(queue.Full):
            self._lines.put(None, timeout=LAST_S)
            self._thread.join(max(0.0, until_s - time.monotonic()))

    def _run(self) -> None:
        while (line := self._lines.get()) is not None:
            self._write(line)
            self._tell_of_dropped()
            if self._ending and self._lines.empty():
                break
        self._tell_of_dropped()

    def _tell_of_dropped(self) -> None:
        """Say how many lines were dropped, if all before them are written."""
        with self._counting:
            dropped = self._dropped if self._lines.empty() else 0
            self._dropped -= dropped
        if dropped:
            said = {"msg": "%d lines of the log were dropped, since nobody read it", "args": (dropped,)}
            self._write(self.format(logging.makeLogRecord({**said, "levelname": "WARNING", "name": __name__})))

    def _write(self, line: str) -> None:
        rest = line.encode(errors="backslashreplace") + b"\n"
        while rest:
            try:
                rest = rest[os.write(self._fd, rest) :]
            except BlockingIOError:  # a program that shares the pipe has set it so
                room = select.poll()
                room.register(self._fd, select.POLLOUT)
                room.poll()
            except OSError:
                return  # nobody will ever read it, or the disk is full
