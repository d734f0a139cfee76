"""The addresses that host names stand for."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
from collections import deque
from ipaddress import ip_address

MAX_LOOKUPS = 64
"""Names that are looked up at the same time."""


class Resolver:
    """Looks up host names, each once at a time however many ask for it.

    In threads of its own that nobody waits for: a look-up cannot be broken off, and a name server that does not answer
    must hold up neither the end of the process nor what else its thread pools do.

    Must be made within a running event loop.

    Args:
        most: Names that are looked up at the same time; further ones wait.
    """

    def __init__(self, most: int = MAX_LOOKUPS) -> None:
        self._loop = asyncio.get_running_loop()
        self._free = most
        self._waiting: deque[str] = deque()
        self._found: dict[str, asyncio.Future[list[str] | Exception]] = {}

    async def addresses(self, host: str) -> list[str]:
        """The IP addresses of a host, the preferred ones first; an address is its own.

        Raises:
            OSError: There is no such name, or no name server.
            ValueError: It cannot be a name.
        """
        with contextlib.suppress(ValueError):
            return [str(ip_address(host))]
        if host not in self._found:
            self._found[host] = self._loop.create_future()
            self._waiting.append(host)
            self._start()
        # Whoever gives up leaves the look-up to the others that wait for it.
        found = await asyncio.shield(self._found[host])
        if isinstance(found, Exception):
            raise found
        return found

    def _start(self) -> None:
        while self._free and self._waiting:
            self._free -= 1
            threading.Thread(target=self._look_up, args=(self._waiting.popleft(),), daemon=True).start()

    def _look_up(self, host: str) -> None:
        found: list[str] | Exception
        try:
            entries = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
            found = list(dict.fromkeys(str(entry[4][0]) for entry in entries))
        except Exception as error:  # noqa: BLE001 - whatever it is, it belongs to those who asked
            found = error
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody asks any more
            self._loop.call_soon_threadsafe(self._end, host, found)

    def _end(self, host: str, found: list[str] | Exception) -> None:
        self._free += 1
        self._found.pop(host).set_result(found)
        self._start()
