"""How a command fails; each has a sentence for the user and the exit code of the command.

CommandFailed
├── Refused     1   the server said no, or says that it cannot now
├── WrongUse    2   an argument or a variable of the environment is wrong
└── NoServer    3   there is no server, or its answer did not come
"""

from __future__ import annotations

from typing import ClassVar


class CommandFailed(Exception):
    """Base of the failures of commands.

    Attributes:
        exit_code: What the command ends with.
    """

    exit_code: ClassVar[int] = 1


class Refused(CommandFailed):
    """The server answered with a problem.

    Args:
        said: The problem in words.
        status: The HTTP status.
    """

    def __init__(self, said: str, status: int) -> None:
        super().__init__(said)
        self.status = status

    @property
    def is_for_now(self) -> bool:
        """Whether the same request may be answered later."""
        return self.status >= 500 or self.status == 429


class WrongUse(CommandFailed):
    """The command cannot be followed as it stands."""

    exit_code = 2


class NoServer(CommandFailed):
    """No server was found, or none answered."""

    exit_code = 3
