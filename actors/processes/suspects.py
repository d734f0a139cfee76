"""Which commands have ended an owner, and must not be applied again."""

from __future__ import annotations

import signal

from actors.exits import Exit

FROM_OUTSIDE = frozenset({signal.SIGKILL, signal.SIGTERM})
"""Signals that no command raises: they come from the kernel that is out of memory, or from an operator."""

REMEMBERED = 1024
"""So many commands of one session; it cannot have more unanswered, and an answered one does not come again."""

Command = tuple[int, int]
"""Session and number."""


class Suspects:
    """Judges the deaths of owners.

    A command that was being applied when its owner died is blamed at once, unless a signal from outside killed the
    owner: that may have been an accident, so the command may run once more, and is blamed if it happens again.

    >>> suspects = Suspects()
    >>> suspects.judge((3, 17), Exit(None, signal.SIGKILL), ours=False), suspects.crashed
    (True, [])
    >>> suspects.judge((3, 17), Exit(None, signal.SIGKILL), ours=False), suspects.crashed
    (True, [(3, 17)])
    >>> suspects.judge(None, Exit(None, signal.SIGSEGV), ours=False), suspects.crashed
    (False, [(3, 17)])

    Attributes:
        blamed: How many commands were blamed so far.
    """

    def __init__(self) -> None:
        # Per session, in order of their deaths; suspected alone could alternate for ever, each under the other's mark.
        self._suspected: dict[int, dict[int, None]] = {}
        self._crashed: dict[int, dict[int, None]] = {}
        self.blamed = 0

    @property
    def crashed(self) -> list[Command]:
        """The commands that are not to be applied again."""
        return [(session, number) for session, numbers in self._crashed.items() for number in numbers]

    def judge(self, marked: Command | None, end: Exit, *, ours: bool) -> bool:
        """Whether a command was at work in the owner that died, and is now suspected or blamed.

        Args:
            marked: The command that was being applied.
            end: How the owner ended.
            ours: The supervisor killed it, because it hung.
        """
        if marked is None:
            return False
        session, number = marked
        if end.signal in FROM_OUTSIDE and not ours and number not in self._suspected.get(session, ()):
            _note(self._suspected, session, number)
            return True
        _note(self._crashed, session, number)
        self.blamed += 1
        return True

    def forget(self, session: int) -> None:
        """A session is over, and with it its commands."""
        self._suspected.pop(session, None)
        self._crashed.pop(session, None)


def _note(commands: dict[int, dict[int, None]], session: int, number: int) -> None:
    numbers = commands.setdefault(session, {})
    numbers[number] = None
    while len(numbers) > REMEMBERED:
        del numbers[next(iter(numbers))]
