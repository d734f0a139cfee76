"""How a process ended."""

from __future__ import annotations

import signal

import msgspec


class Exit(msgspec.Struct, frozen=True):
    """How a process ended: with an exit code, or killed by a signal."""

    code: int | None
    signal: int | None

    @property
    def clean(self) -> bool:
        """Whether it ended by itself and with code 0."""
        return self.code == 0

    def __str__(self) -> str:
        if self.signal is not None:
            return f"killed by {signal_name(self.signal)}"
        return f"exit code {self.code}"


def signal_name(number: int) -> str:
    """A signal's name, such as SIGKILL; those between SIGRTMIN and SIGRTMAX have none.

    >>> signal_name(9), signal_name(40)
    ('SIGKILL', 'signal 40')
    """
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
