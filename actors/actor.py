"""What an actor is: tables, and what a command does to them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar

import msgspec

from actors.exits import Exit
from actors.tables import Table


class Context(msgspec.Struct):
    """The circumstances of a command. An actor has no other source of time, so it can be tested without any.

    Attributes:
        session: The session that sent the command.
        monotonic_s: `CLOCK_MONOTONIC` in seconds, for deadlines.
        wall_s: Seconds since 1970 (UTC), for people.
        epoch: Number of the owner's life.
        revision: Number of the latest durable change.
    """

    session: int
    monotonic_s: float
    wall_s: float
    epoch: int
    revision: int


class Actor(ABC):
    """State that one process holds, and the commands that change it, one at a time.

    `apply` is the whole of it. An error it raises undoes whatever the command did to the tables so far.
    """

    commands: ClassVar[Any]
    """The type of the commands: a union of tagged msgspec structs. What does not fit it never reaches `apply`."""

    @property
    @abstractmethod
    def tables(self) -> Sequence[Table[Any, Any]]:
        """All the state there is."""

    @abstractmethod
    def apply(self, command: Any, context: Context) -> Any:
        """Do a command; returns its result (a struct or a builtin type).

        Raises:
            CommandError: The command is refused and changes nothing.
        """

    def session_ended(self, context: Context, exit: Exit | None) -> None:  # noqa: B027 - most actors hold nothing
        """Take back what `context.session` held.

        Args:
            context: The circumstances.
            exit: How its process ended; None if the process left by itself, or if nobody can know.
        """

    def wanted_after_death(self, command: Any) -> bool:  # noqa: ARG002 - the default wants all
        """Whether a command still counts whose sender died before it was read. False for what takes something."""
        return True

    def tick(self, context: Context) -> None:  # noqa: B027 - most actors wait for nothing
        """Do what has become due; called about twice a second."""
