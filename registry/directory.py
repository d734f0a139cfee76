"""The directory in which a system keeps its state."""

from __future__ import annotations

import os
import tempfile
from contextlib import suppress
from pathlib import Path

import msgspec

from actors.errors import StartFailed
from actors.forks import LINEAGE
from actors.processes.directory_lock import lock_directory
from registry.kinds import Durability, LogFormat
from registry.owner import Options
from registry.server_file import ServerFile, remove_server_file
from registry.state.rules import DEFAULT_RULES, HealthRules

SOCKET = "registry.sock"
"""Name of the socket within the directory."""


def default_directory() -> Path:
    """Where state lives unless told otherwise: the XDG state directory."""
    base = os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state"
    return Path(base) / "actor-registry"


class StateDirectory:
    """A directory that this system has for itself.

    Attributes:
        path: The directory.
        lock_fd: The descriptor whose lock says so; each owner is to hold it.

    Args:
        path: The directory, made if it is not there; None for a temporary one that is removed at the end.
        holder: What another system is told when it wants the directory.

    Raises:
        AlreadyRunning: Another system has it.
        StartFailed: It cannot be made or written.
    """

    def __init__(self, path: Path | None, holder: str) -> None:
        if path is not None and not path.name:
            raise StartFailed("the data directory has an empty name")
        if "\0" in str(path):
            raise StartFailed(f"the name of the data directory {str(path)!r} has a null character, which none may have")
        self._ephemeral = path is None
        self._closed = False
        try:
            if path is None:
                self.path = Path(tempfile.mkdtemp(prefix="actor-registry-"))
            else:
                self.path = path.absolute()
                self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
            self.lock_fd = lock_directory(self.path, holder)
        except FileExistsError:
            raise StartFailed(f"the data directory {path} cannot be used: it is not a directory") from None
        except OSError as error:
            reason = f"the data directory {path} cannot be used: {error.strerror}"
            raise StartFailed(reason) from error
        # That of a predecessor that was killed.
        remove_server_file(self.path)
        LINEAGE.watch(self)

    @property
    def socket(self) -> Path:
        """Where other processes join the system."""
        return self.path / SOCKET

    def owner_options(
        self,
        durability: Durability = Durability.PROCESS,
        *,
        recover: bool = False,
        log_format: LogFormat | None = None,
        rules: HealthRules = DEFAULT_RULES,
    ) -> bytes:
        """What the owner process is told of it.

        Args:
            durability: What an answered change outlives.
            recover: Whether a damaged journal is replaced by what is readable of it.
            log_format: How its log looks; None for the owner of a user's program.
            rules: How health is judged.
        """
        options = Options(str(self.path), self._ephemeral, durability, recover, log_format, rules)
        return msgspec.msgpack.encode(options)

    def announce(self, url: str) -> None:
        """Let the command line of this machine find the server of this directory.

        Args:
            url: Where it is called.

        Raises:
            OSError: The file that says so cannot be written.
        """
        ServerFile(url, os.getpid()).write(self.path)

    def close(self) -> None:
        """Give up this process's hold on it, and remove what an owner that was killed could not."""
        if self._closed:
            return
        self._closed = True
        remove_server_file(self.path)
        os.close(self.lock_fd)
        if self._ephemeral:
            with suppress(OSError):
                for file in self.path.iterdir():
                    file.unlink()
                self.path.rmdir()

    def forked(self) -> None:
        """Let go of the lock, which must not outlive the parent's system; see `Forkable`."""
        if not self._closed:
            self._closed = True
            os.close(self.lock_fd)
