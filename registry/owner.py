"""How the owner process of a registry begins: its actor, and the journal that this keeps."""

from __future__ import annotations

import shutil
from pathlib import Path

import msgspec

from actors.actor import Actor
from actors.journal import Journal
from registry.actor import RegistryActor
from registry.kinds import Durability, LogFormat
from registry.owner_log import log_to_stderr
from registry.state.rules import DEFAULT_RULES, HealthRules
from registry.stores.recovery import recover
from registry.stores.sqlite import SqliteJournal

JOURNAL = "registry.db"
"""Name of the journal's file in the data directory."""


class Options(msgspec.Struct, frozen=True):
    """How the owner is started.

    Attributes:
        directory: Where the journal is.
        ephemeral: Whether the directory is removed at the end.
        durability: What an answered change outlives.
        recover: Whether a damaged journal is replaced by what is readable of it.
        log_format: How its log looks; None for the owner of a user's program.
        rules: How health is judged.
    """

    directory: str
    ephemeral: bool
    durability: Durability = Durability.PROCESS
    recover: bool = False
    log_format: LogFormat | None = None
    rules: HealthRules = DEFAULT_RULES


def build(options: bytes) -> tuple[Actor, Journal]:
    """The actor and its journal, for the owner process."""
    wanted = msgspec.msgpack.decode(options, type=Options)
    log_to_stderr(wanted.log_format)
    directory = Path(wanted.directory)
    actor = RegistryActor(wanted.rules)
    path = directory / JOURNAL
    if wanted.recover:
        recover(path, actor.tables)
    journal = SqliteJournal(path, actor.tables, wanted.durability)
    return actor, _Ephemeral(journal, directory) if wanted.ephemeral else journal


class _Ephemeral:
    """A journal whose directory goes with it: the owner is the last to leave, even when the supervisor was killed."""

    def __init__(self, journal: SqliteJournal, directory: Path) -> None:
        self._directory = directory
        self._journal = journal
        self.load = journal.load
        self.commit = journal.commit
        self.save = journal.save
        self.holds = journal.holds
        self.history = journal.history

    def close(self) -> None:
        """Finish and remove everything."""
        self._journal.close()
        shutil.rmtree(self._directory, ignore_errors=True)
