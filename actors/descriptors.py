"""How many descriptors the supervisor and its processes may have."""

from __future__ import annotations

import resource

MAX_DESCRIPTORS = 1024 * 1024
"""More are of no use, and some programs walk through all that they may have."""


def raise_descriptor_limit() -> None:
    """Each session needs descriptors in the supervisor and in the owner, which inherits the limit."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = MAX_DESCRIPTORS if hard == resource.RLIM_INFINITY else min(hard, MAX_DESCRIPTORS)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
