"""Which server a command speaks to."""

from __future__ import annotations

import os
import socket
from pathlib import Path
from typing import NamedTuple

from registry.cli.errors import NoServer, WrongUse
from registry.errors import InvalidField
from registry.server_file import NAME, ServerFile, read_server_file
from registry.urls import normalise_url

SERVER_VARIABLE = "ACTOR_REGISTRY_SERVER"
DIRECTORY_VARIABLE = "ACTOR_REGISTRY_DATA_DIR"
USUAL_SERVER = "http://127.0.0.1:8081"


class Place(NamedTuple):
    """Where a server is called.

    Attributes:
        url: Its base address.
        note: The file that says so, and for which process; None if the user named the address.
    """

    url: str
    note: tuple[Path, int] | None = None

    @property
    def why_nobody(self) -> str:
        """What may be the matter when nobody answers there."""
        if self.note is None:
            return "is the server running, and is this its address?"
        path, pid = self.note
        return f"{path} names it for process {pid}, which is stopping or stuck; start it anew, or use --server"


def find_server(server: str | None, data_dir: Path | None) -> Place:
    """The server that a command is meant for.

    A flag goes over the environment, and an address over a directory.

    Args:
        server: What `--server` says.
        data_dir: What `--data-dir` says.

    Raises:
        WrongUse: The address is none.
        NoServer: Nothing says in the directory where a server is, or that server is gone.
    """
    if server is not None and data_dir is not None:
        raise WrongUse("--server and --data-dir exclude each other: each names the server")
    if server is not None:
        return Place(_address(server, "--server"))
    if data_dir is None and (variable := os.environ.get(SERVER_VARIABLE)):
        return Place(_address(variable, SERVER_VARIABLE))
    return _of_directory(data_dir or _usual_directory())


def _usual_directory() -> Path:
    variable = os.environ.get(DIRECTORY_VARIABLE)
    if variable:
        return Path(variable)
    from registry.directory import default_directory  # noqa: PLC0415 - it imports what `--help` need not wait for

    return default_directory()


def _address(given: str, source: str) -> str:
    # A password must not be shown, whatever else is wrong.
    if "@" in given:
        raise WrongUse(f"{source}: must not hold a user name or password; an admin key is given by the environment")
    try:
        return normalise_url(given)
    except InvalidField as error:
        raise WrongUse(f"{source}: {given!r} {error.reason}") from None


def _of_directory(directory: Path) -> Place:
    try:
        found = read_server_file(directory)
    except FileNotFoundError:
        raise NoServer(_why_none(directory)) from None
    except OSError as error:
        raise NoServer(f"{directory / NAME} cannot be read: {error.strerror}") from None
    except ValueError as error:
        raise NoServer(f"{directory / NAME} cannot be used: {error}") from None
    path = (directory / NAME).absolute()
    if not _runs(found):
        # Whoever has taken its port meanwhile must not be handed the admin key.
        raise NoServer(
            f"{path} names {found.url}, but process {found.pid} that served there was killed; start the server anew"
        )
    return Place(found.url, (path, found.pid))


def _why_none(directory: Path) -> str:
    if not directory.is_dir():
        return (
            f"no server was found: there is no data directory {directory}; name another by --data-dir, or use --server "
            f"{USUAL_SERVER}, which also finds an ephemeral one"
        )
    if _somebody_listens(directory):
        return (
            f"the system of {directory} serves no HTTP: either it is just starting, or a Python program runs it, and "
            f"then registry.connect({str(directory)!r}) joins it"
        )
    return f"no server was found: none runs in {directory}; start one by `serve`, or name it by --data-dir or --server"


def _somebody_listens(directory: Path) -> bool:
    """Whether a system can be joined there by `registry.connect`."""
    from registry.directory import SOCKET  # noqa: PLC0415 - it imports what `--help` need not wait for

    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as knocking:
        knocking.setblocking(False)
        try:
            knocking.connect(str(directory / SOCKET))
        except BlockingIOError:
            return True
        except OSError:
            return False
    return True


def _runs(server: ServerFile) -> bool:
    try:
        os.kill(server.pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
