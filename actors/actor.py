"""What an actor is: tables, and what a command does to them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from typing import Any, ClassVar

import msgspec

from actors.errors import CallError
from actors.exits import Exit
from actors.tables import Table
from actors.views import View

CallId = tuple[int, int]
"""Session and number of a command."""


class _Later:
    def __repr__(self) -> str:
        return "LATER"


LATER = _Later()
"""What `Actor.apply` returns for a command that waits: its answer comes by `Context.answer` in a later one."""


class Context(msgspec.Struct):
    """The circumstances of a command. An actor has no other source of time, so it can be tested without any.

    Attributes:
        session: The session that sent the command.
        number: The command's number in that session; 0 for what is no command.
        deadline_s: Instant after which the caller does not wait any more.
        monotonic_s: `CLOCK_MONOTONIC` in seconds, for deadlines.
        wall_s: Seconds since 1970 (UTC), for people.
        epoch: Number of the owner's life.
        revision: Number of the latest durable change.
        answers: What `answer` and `refuse` were told.
    """

    session: int
    number: int
    deadline_s: float
    monotonic_s: float
    wall_s: float
    epoch: int
    revision: int
    answers: list[tuple[CallId, Any, CallError | None]] | None = None

    @property
    def call(self) -> CallId:
        """The name of this command, to answer it later."""
        return self.session, self.number

    def answer(self, call: CallId, result: Any) -> None:
        """Answer a command that waits. It counts only if the present command, or event, stands."""
        self._settle(call, result, None)

    def refuse(self, call: CallId, error: CallError) -> None:
        """Refuse a command that waits."""
        self._settle(call, None, error)

    def _settle(self, call: CallId, result: Any, error: CallError | None) -> None:
        if self.answers is None:
            self.answers = []
        self.answers.append((call, result, error))


class Actor(ABC):
    """State that one process holds, and the commands that change it, one at a time.

    `apply` is the whole of it. An error it raises undoes whatever the command did to the tables so far.

    A command may have to wait, for something that another session gives back, say. Then `apply` notes it in a table
    of the actor's (with `context.call`, and whatever its place in the line depends on) and returns `LATER`. The
    command that ends the waiting takes it out of the table and says `context.answer(call, result)`. An owner that
    dies meanwhile costs nobody the place in the line, because the table is there again in its successor.
    """

    commands: ClassVar[Any]
    """The type of the commands: a union of tagged msgspec structs. What does not fit it never reaches `apply`."""

    name_of: Callable[[int], str] = staticmethod(lambda _: "")
    """The name of a session's process, empty if nobody knows it; set by what runs the actor. For people: no state may
    depend on it, because a session may be known before its name is."""

    @property
    @abstractmethod
    def tables(self) -> Sequence[Table[Any, Any]]:
        """All the state there is."""

    @property
    def views(self) -> Sequence[View[Any, Any]]:
        """What other processes may keep a copy of."""
        return ()

    @abstractmethod
    def apply(self, command: Any, context: Context) -> Any:
        """Do a command; returns its result (a struct or a builtin type), or `LATER`.

        Raises:
            CommandError: The command is refused and changes nothing.
        """

    def cancelled(self, call: CallId, context: Context) -> None:  # noqa: B027 - most actors put nothing off
        """Take a waiting command out of the line: its caller gave up, its time is over, or its session has ended."""

    def session_ended(self, context: Context, exit: Exit | None) -> None:  # noqa: B027 - most actors hold nothing
        """Take back what `context.session` held; its waiting commands are cancelled already.

        Args:
            context: The circumstances.
            exit: How its process ended; None if the process left by itself, or if nobody can know.
        """

    def wanted_after_death(self, command: Any) -> bool:  # noqa: ARG002 - the default wants all
        """Whether a command still counts whose sender died before it was read. False for what takes something."""
        return True

    def tick(self, context: Context) -> None:  # noqa: B027 - most actors wait for nothing
        """Do what has become due; called about twice a second."""

    def due(self, context: Context) -> Iterable[Callable[[Context], None]]:  # noqa: ARG002 - most actors wait for nothing
        """What else has become due and must be stored, asked after each tick.

        Each is done for itself: one that cannot be stored takes nothing else with it, and is due again.
        """
        return ()
