"""The file in a data directory that tells where its server is called."""

from __future__ import annotations

import os
import stat
from contextlib import suppress
from pathlib import Path
from typing import Annotated

import msgspec
from msgspec import Meta

from actors.errors import UNDECODABLE

NAME = "server.json"
MAX_BYTES = 4096


class ServerFile(msgspec.Struct, frozen=True):
    """Where a server is called.

    Attributes:
        url: Its base address, as a program on the same machine calls it.
        pid: Its main process, the supervisor.
    """

    url: str
    pid: Annotated[int, Meta(ge=1, le=2**31 - 1)]

    def write(self, directory: Path) -> None:
        """Put the file there, whole or not at all, for its owner only.

        Raises:
            OSError: It cannot be written.
        """
        unfinished = directory / f"{NAME}.new"
        unfinished.unlink(missing_ok=True)
        try:
            with open(unfinished, "xb", opener=_private) as file:
                file.write(msgspec.json.encode(self) + b"\n")
            unfinished.replace(directory / NAME)
        except OSError:
            with suppress(OSError):
                unfinished.unlink()
            raise


def read_server_file(directory: Path) -> ServerFile:
    """What the file in a directory says.

    Raises:
        OSError: There is none, or it cannot be read.
        ValueError: It holds something else.
    """
    with open(directory / NAME, "rb", opener=_at_once) as file:
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            raise ValueError("it is not an ordinary file")
        content = file.read(MAX_BYTES)
    try:
        return msgspec.json.decode(content, type=ServerFile)
    except UNDECODABLE as error:
        raise ValueError(f"it does not say where a server is ({error})") from None


def remove_server_file(directory: Path) -> None:
    """Take it away, if it is there."""
    with suppress(OSError):
        (directory / NAME).unlink()


def _at_once(path: str, flags: int) -> int:
    """Open what may be a pipe at whose other end nobody is."""
    return os.open(path, flags | os.O_NONBLOCK)


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)
