"""How a babysitter fails; each has a sentence for the user.

BabysitterError
├── CannotStart      the command cannot be run at all, such as one that is not there
├── CannotListen     the babysitter's own port, or the server's, is taken
└── GaveUp           the server has failed too often
"""

from __future__ import annotations


class BabysitterError(Exception):
    """Base of a babysitter's failures."""


class CannotStart(BabysitterError):
    """The command cannot be run.

    Args:
        command: Its first word.
        reason: Why not.
    """

    def __init__(self, command: str, reason: str) -> None:
        super().__init__(f"{command!r} cannot be started: {reason}")
        self.command = command
        self.reason = reason


class CannotListen(BabysitterError):
    """A port cannot be had.

    Args:
        port: The port.
        reason: Why not, and what to do.
    """

    def __init__(self, port: int, reason: str) -> None:
        super().__init__(f"port {port} {reason}")
        self.port = port


class GaveUp(BabysitterError):
    """The server has failed too often.

    Args:
        name: The babysitter's name.
        restarts: How often the server was started again.
        reason: How its latest life ended.
    """

    def __init__(self, name: str, restarts: int, reason: str) -> None:
        after = {0: "without a restart", 1: "after one restart"}.get(restarts, f"after {restarts:,} restarts in a row")
        super().__init__(f"gave up on {name!r} {after}: the server {reason}")
        self.restarts = restarts
        self.reason = reason
