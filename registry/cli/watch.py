"""`actor-registry watch`: changes as they happen, through restarts of the server."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from actors.errors import UNDECODABLE
from registry.cli.changes import Change
from registry.cli.errors import NoServer, Refused
from registry.cli.messages import understood
from registry.cli.options import AsJsonLines, DataDir, Server, Since, call
from registry.cli.output import print_json_line, print_line, print_note
from registry.texts import printable

if TYPE_CHECKING:
    from registry.cli.client import Client

FIRST_WAIT_S = 0.25
LONGEST_WAIT_S = 5.0
GROWTH = 1.5


class _Revision(msgspec.Struct):
    revision: int


def watch(
    *,
    since: Since = None,
    server: Server = None,
    data_dir: DataDir = None,
    as_json: AsJsonLines = False,
) -> None:
    """Print each change as it happens, until Ctrl-C; a lost connection is made again, and no change is missed."""
    for body in Watch(server, data_dir, since).changes():
        if as_json:
            print_json_line(body)
        else:
            print_line(understood(body, Change).line())


class Watch:
    """Follows the changes of one server, whatever becomes of connections and of the server.

    Args:
        server: What `--server` says.
        data_dir: What `--data-dir` says. It is read anew for each connection: a server that was started again may
            have another address.
        since: The last revision that is known; None for the present one.
    """

    def __init__(self, server: str | None, data_dir: Path | None, since: int | None) -> None:
        self._call: Callable[[], Client] = lambda: call(server, data_dir)
        self._last = since
        self._connected = False
        self._wait_s = FIRST_WAIT_S

    def changes(self) -> Iterator[Any]:
        """The changes as JSON values.

        Raises:
            Refused: The server does not keep the changes since the last one any more, or says no otherwise.
            NoServer: There was none from the start.
        """
        while True:
            try:
                yield from self._stream()
                reason = "the server ended the stream"
            except NoServer as error:
                if not self._connected:
                    raise
                reason = str(error)
            except Refused as error:
                if not (self._connected and error.is_for_now):
                    raise
                reason = str(error)
            print_note(printable(f"{reason}; trying again in {self._wait_s:.1f} s"))
            # Many that lost one server should not come back to it in the same instant.
            time.sleep(self._wait_s * random.uniform(0.8, 1.0))  # noqa: S311 - nothing secret hangs on it
            self._wait_s = min(GROWTH * self._wait_s, LONGEST_WAIT_S)

    def _stream(self) -> Iterator[Any]:
        with self._call() as client:
            last = self._start(client)
            with client.events("/watch", [("since", str(last))]) as events:
                if self._connected:
                    print_note(f"connected again, from revision {last} on")
                self._connected = True
                for event in events:
                    body = understood(_decoded(event.data), dict[str, Any])
                    self._last = understood(body, _Revision).revision
                    self._wait_s = FIRST_WAIT_S
                    yield body

    def _start(self, client: Client) -> int:
        """The revision after which to go on."""
        if self._last is None or self._connected:
            present = understood(client.get("/status"), _Revision).revision
            if self._last is not None and present < self._last:
                print_note(
                    f"the registry at {client.url} has begun anew: it is at revision {present}, {self._last} was seen"
                )
                self._last = None
            if self._last is None:
                self._last = present
        return self._last


def _decoded(data: str) -> Any:
    try:
        return msgspec.json.decode(data)
    except UNDECODABLE as error:
        raise NoServer(f"the server sent a change that is no JSON ({error})") from None
