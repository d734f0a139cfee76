"""An actor that ends or blocks its owner when it is told to."""

from __future__ import annotations

import os
import signal
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec

from actors.actor import Actor, Context
from actors.exits import Exit
from actors.journal import Journal, NoJournal
from actors.tables import Table


class Count(msgspec.Struct, frozen=True, tag=True, forbid_unknown_fields=True):
    """Add one; answered with the new count."""


class Crash(msgspec.Struct, frozen=True, tag=True, forbid_unknown_fields=True):
    """End the owner (exit, segv, kill), or block it for ever (loop); `once`: only the first time in the system's life.

    It is answered with "survived" when it does not.
    """

    how: str
    once: bool = False


class TroubleActor(Actor):
    """A count, and trouble.

    Args:
        scratch: A directory of the test's own.
    """

    commands = Count | Crash

    def __init__(self, scratch: Path) -> None:
        self.counts: Table[str, int] = Table("counts", str, int, durable=False)
        self._scratch = scratch

    @property
    def tables(self) -> Sequence[Table[Any, Any]]:
        return [self.counts]

    def apply(self, command: Any, context: Context) -> Any:  # noqa: ARG002 - the contract's
        if isinstance(command, Count):
            self.counts.put("count", (self.counts.get("count") or 0) + 1)
            return self.counts.get("count")
        done = self._scratch / f"done-{command.how}"
        if command.once and done.exists():
            return "survived"
        done.touch()
        return crash(command.how)

    def session_ended(self, context: Context, exit: Exit | None) -> None:
        with (self._scratch / "ends").open("a", encoding="ascii") as file:
            file.write(f"{context.session}: {exit}\n")

    def wanted_after_death(self, command: Any) -> bool:  # noqa: ARG002 - the contract's
        return True

    def tick(self, context: Context) -> None:
        pass


def crash(how: str) -> None:
    """Make trouble."""
    match how:
        case "exit":
            os._exit(3)
        case "loop":
            turn_for_ever()
        case _:
            os.kill(os.getpid(), signal.Signals[f"SIG{how.upper()}"])


def turn_for_ever() -> None:
    """A fault that no exception ends."""
    while True:
        pass


class TellingJournal(NoJournal):
    """Leaves a file when it is closed.

    Args:
        path: Its place.
    """

    def __init__(self, path: Path) -> None:
        self._path = path

    def close(self) -> None:
        self._path.touch()


def build(options: bytes) -> tuple[Actor, Journal]:
    """The actor for a real owner process; the options are the path of a directory of the test's own."""
    scratch = Path(options.decode())
    return TroubleActor(scratch), TellingJournal(scratch / "closed")
