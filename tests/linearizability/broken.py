"""Owners that break the promise on purpose, each in one way; an owner process makes one by its `build_` function."""

from __future__ import annotations

import os
import signal
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec

from actors.actor import Actor, CallId, Context
from actors.exits import Exit
from actors.journal import Journal, Loaded, SavedRow, Step
from actors.session_log import decode_record, encode_record
from actors.tables import Table
from actors.views import View
from registry import commands as c
from registry import owner

STALE_FOR = 10
"""So many reads of a backend in a row are answered alike."""

LOST = 20
"""Every so manieth increment is lost. Some of that nobody can see, since a count does not fall below 0."""

ONCE = {"AddBackend", "RemoveBackend"}
"""The commands that are refused if they are done a second time."""

DIES_OF = 8
"""An owner dies in the midst of storing so manieth of them."""

DEATHS = 3
"""So many owners die; the next one lives on."""


class SameActor(Actor):
    """Does what another actor does.

    Args:
        actor: The other one.
    """

    commands = c.AnyCommand

    def __init__(self, actor: Actor) -> None:
        self._actor = actor

    @property
    def tables(self) -> Sequence[Table[Any, Any]]:
        return self._actor.tables

    @property
    def views(self) -> Sequence[View[Any, Any]]:
        return self._actor.views

    def apply(self, command: Any, context: Context) -> Any:
        return self._actor.apply(command, context)

    def cancelled(self, call: CallId, context: Context) -> None:
        self._actor.cancelled(call, context)

    def session_ended(self, context: Context, exit: Exit | None) -> None:
        self._actor.session_ended(context, exit)

    def wanted_after_death(self, command: Any) -> bool:
        return self._actor.wanted_after_death(command)

    def tick(self, context: Context) -> None:
        self._actor.tick(context)


class StaleReads(SameActor):
    """Answers `get_backend` from a copy that it seldom renews."""

    def __init__(self, actor: Actor) -> None:
        super().__init__(actor)
        self._copies: dict[str, tuple[int, Any]] = {}

    def apply(self, command: Any, context: Context) -> Any:
        if not isinstance(command, c.GetBackend):
            return super().apply(command, context)
        uses, answer = self._copies.get(command.id, (STALE_FOR, None))
        if uses >= STALE_FOR:
            uses, answer = 0, super().apply(command, context)
        self._copies[command.id] = uses + 1, answer
        return answer


class LostIncrements(SameActor):
    """Answers every increment rightly, and forgets some at once."""

    def __init__(self, actor: Actor) -> None:
        super().__init__(actor)
        self._increments = 0

    def apply(self, command: Any, context: Context) -> Any:
        answer = super().apply(command, context)
        if isinstance(command, c.IncrementPending):
            self._increments += 1
            if self._increments % LOST == 0:
                super().apply(c.DecrementPending(command.id), context)
        return answer


class LeakyEnds(SameActor):
    """Keeps what a process held that has ended."""

    def session_ended(self, context: Context, exit: Exit | None) -> None:
        pass


class MortalJournal:
    """A journal whose owner dies between a transaction and its answers, a few times.

    Args:
        journal: What stores the changes.
        lives: A file with a letter for each life.
    """

    def __init__(self, journal: Journal, lives: Path) -> None:
        self._journal = journal
        self.save = journal.save
        self.holds = journal.holds
        self.history = journal.history
        self.close = journal.close
        with lives.open("a+", encoding="ascii") as file:
            file.write("x")
            file.flush()
            self._left = DIES_OF if file.tell() <= DEATHS else -1

    def load(self) -> Loaded:
        return self._journal.load()

    def commit(self, steps: Sequence[Step], turn: int, record: bytes, saved: Sequence[SavedRow] = ()) -> None:
        self._journal.commit(steps, turn, record, saved)
        for _ in (step for step in steps if step.cause in ONCE):
            self._left -= 1
            if self._left == 0:
                os.kill(os.getpid(), signal.SIGKILL)


class ForgetfulJournal(MortalJournal):
    """One that forgets the answers of the turn in which its owner died: what is sent again is done again."""

    def load(self) -> Loaded:
        loaded = super().load()
        if loaded.turn is None:
            return loaded
        number, encoded = loaded.turn
        record = msgspec.structs.replace(decode_record(encoded), answers=[])
        return msgspec.structs.replace(loaded, turn=(number, encode_record(record)))


def build_stale_reads(options: bytes) -> tuple[Actor, Journal]:
    """See `StaleReads`."""
    actor, journal = owner.build(options)
    return StaleReads(actor), journal


def build_lost_increments(options: bytes) -> tuple[Actor, Journal]:
    """See `LostIncrements`."""
    actor, journal = owner.build(options)
    return LostIncrements(actor), journal


def build_leaky_ends(options: bytes) -> tuple[Actor, Journal]:
    """See `LeakyEnds`."""
    actor, journal = owner.build(options)
    return LeakyEnds(actor), journal


def build_mortal(options: bytes) -> tuple[Actor, Journal]:
    """See `MortalJournal`; nothing is broken here."""
    actor, journal = owner.build(options)
    return actor, MortalJournal(journal, _lives(options))


def build_forgetful(options: bytes) -> tuple[Actor, Journal]:
    """See `ForgetfulJournal`."""
    actor, journal = owner.build(options)
    return actor, ForgetfulJournal(journal, _lives(options))


def _lives(options: bytes) -> Path:
    return Path(msgspec.msgpack.decode(options, type=owner.Options).directory) / "lives"
