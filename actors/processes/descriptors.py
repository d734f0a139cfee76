"""How many descriptors the supervisor and its processes may have."""

from __future__ import annotations

import resource

from actors.errors import SupervisorError

MAX_DESCRIPTORS = 1024 * 1024
"""More are of no use, and some programs walk through all that they may have."""

RESERVED = 96
"""Kept free for what must go on at the limit: restarts, journals, a message under way with its descriptors."""

PER_WORKER = 3
"""What the supervisor holds for a worker, or a process that has joined by the socket: queue, line and pidfd."""


def raise_descriptor_limit() -> None:
    """Each session needs descriptors in the supervisor and in the owner, which inherits the limit."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = MAX_DESCRIPTORS if hard == resource.RLIM_INFINITY else min(hard, MAX_DESCRIPTORS)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def need_room_for(wanted: int, workers: int, others: int) -> None:
    """Refuse what would leave too few descriptors for the rest of the system.

    Args:
        wanted: How many more.
        workers: How many workers there are, also those between two lives (a restart must find room), and processes
            that have joined by the socket.
        others: How many further sessions there are.

    Raises:
        SupervisorError: There is no room.
    """
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY and wanted + PER_WORKER * workers + others + RESERVED > soft:
        raise SupervisorError(
            f"{workers + others:,} processes are as many as a limit of {soft:,} descriptors allows;"
            " raise it (`ulimit -n`), or let some of them leave"
        )
