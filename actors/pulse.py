"""What the owner is doing right now, in a page of memory that can be read when the owner no longer speaks."""

from __future__ import annotations

import functools
import mmap
import os
import struct
from collections.abc import Callable

_BEATS = struct.Struct("<Q")
_MARK = struct.Struct("<QQ")  # session and number of the command that is being applied; session 0 for none
_MARK_AT = 64


class Pulse:
    """A page made by the supervisor, handed to each owner, and written by the owner alone.

    The count of beats stands still when the owner hangs. The mark names the command that was being applied when the
    owner died. What is written to a shared mapping outlives the process that wrote it.

    >>> pulse = Pulse.create()
    >>> pulse.beat(); pulse.mark(3, 17)
    >>> pulse.beats, pulse.marked
    (1, (3, 17))
    >>> pulse.clear(); pulse.marked is None
    True
    >>> pulse.close()

    Args:
        fd: The memfd; the pulse owns the descriptor from now on.

    Attributes:
        mark: Notes that this command (session and number) is about to be applied; 0 and 0 that it is done.
    """

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._map = mmap.mmap(fd, mmap.PAGESIZE)
        self._count = self.beats
        self.mark: Callable[[int, int], None] = functools.partial(_MARK.pack_into, self._map, _MARK_AT)

    @classmethod
    def create(cls) -> Pulse:
        """A page of its own, all zero."""
        fd = os.memfd_create("pulse", os.MFD_CLOEXEC)
        os.ftruncate(fd, mmap.PAGESIZE)
        return cls(fd)

    def fileno(self) -> int:
        """The descriptor, to be handed to an owner."""
        return self._fd

    # -- the owner's side ------------------------------------------------------------------------------------

    def beat(self) -> None:
        """The loop turns."""
        self._count += 1
        _BEATS.pack_into(self._map, 0, self._count)

    def clear(self) -> None:
        """No command is being applied."""
        self.mark(0, 0)

    # -- the supervisor's side -------------------------------------------------------------------------------

    @property
    def beats(self) -> int:
        """How often the owners' loops were seen to turn."""
        count: int = _BEATS.unpack_from(self._map, 0)[0]
        return count

    @property
    def marked(self) -> tuple[int, int] | None:
        """Session and number of the command that is being applied, or was when the owner died; None for none."""
        session, number = _MARK.unpack_from(self._map, _MARK_AT)
        return (session, number) if session else None

    def close(self) -> None:
        """Close the descriptor; the page lives while any process holds one."""
        self._map.close()
        os.close(self._fd)
