"""One system a data directory: an exclusive lock that lives as long as any process of the system."""

from __future__ import annotations

import contextlib
import fcntl
import os
import time
from pathlib import Path

from actors.errors import AlreadyRunning

PATIENCE_S = 3.0
"""How long to wait for a system that may just be leaving."""


def lock_directory(directory: Path, holder: str, patience_s: float = PATIENCE_S) -> int:
    """Take the directory, or say who has it.

    Args:
        directory: An existing directory.
        holder: Who takes it, written down for others to read.
        patience_s: How long to wait for the lock, in seconds.

    Returns:
        A descriptor; the lock lasts until every duplicate of it is closed.

    Raises:
        AlreadyRunning: Another system holds the directory.
        OSError: The lock file cannot be opened.
    """
    fd = os.open(directory / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    deadline = time.monotonic() + patience_s
    while True:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            break
        except BlockingIOError:
            if time.monotonic() >= deadline:
                named = os.pread(fd, 200, 0).decode(errors="replace").strip()
                os.close(fd)
                raise AlreadyRunning(str(directory), named or "another system") from None
            time.sleep(0.05)  # flock has no timeout of its own
    with contextlib.suppress(OSError):  # on a full disk the lock holds all the same
        os.ftruncate(fd, 0)
        os.pwrite(fd, holder.encode(), 0)
    return fd
