"""An actor that notes how sessions end."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from actors.actor import Actor, Context
from actors.exits import Exit
from actors.journal import Journal, NoJournal
from actors.tables import Table
from tests.actors.counter import Take


class Ends(msgspec.Struct, frozen=True, tag=True, forbid_unknown_fields=True):
    """How has each session ended? Those that have not are left out."""


class Ending(msgspec.Struct, frozen=True):
    """How a session ended; None if its process left by itself."""

    exit: Exit | None


class Witness(Actor):
    """Its notes outlive the owner, and it knows a session by what it has taken."""

    commands = Ends | Take

    def __init__(self) -> None:
        self._endings: Table[int, Ending] = Table("endings", int, Ending, durable=False)
        self._taken: Table[int, bool] = Table("taken", int, bool, durable=False)

    @property
    def tables(self) -> Sequence[Table[Any, Any]]:
        return [self._endings, self._taken]

    def apply(self, command: Any, context: Context) -> Any:
        if isinstance(command, Take):
            self._taken.put(context.session, True)
            return 1
        return {str(session): ending.exit for session, ending in self._endings.items()}

    def session_ended(self, context: Context, exit: Exit | None) -> None:
        assert context.session not in self._endings, "a session ends once"
        self._endings.put(context.session, Ending(exit))


def build(options: bytes) -> tuple[Actor, Journal]:
    """The actor for a real owner process."""
    del options
    return Witness(), NoJournal()
