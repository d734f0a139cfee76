"""Requests that came before. Programs send the same few lines again and again; what they mean need not be read anew."""

from __future__ import annotations

from typing import NamedTuple

from registry.gateway.http1.messages import Request

LONGEST_BYTES = 2 * 1024
"""A longer head is not kept."""

MOST = 4_096
"""When so many are kept, all are forgotten."""

END = b"\r\n\r\n"


class _Known(NamedTuple):
    """What a head means, and how many bytes of body follow it."""

    request: Request
    body_bytes: int


class Heads:
    """The heads of the requests that the clients of a process have sent, as they stood, and what they mean."""

    def __init__(self) -> None:
        self._known: dict[bytes, _Known] = {}

    def recall(self, data: bytes) -> Request | None:
        """The request that these bytes are, if they are exactly one and another one with this head came before.

        Args:
            data: What a client has sent since its latest whole request.
        """
        head_bytes = data.find(END) + len(END)
        if not len(END) <= head_bytes <= LONGEST_BYTES:
            return None
        if head_bytes == len(data):
            known = self._known.get(data)
            return None if known is None or known.body_bytes else known.request
        known = self._known.get(data[:head_bytes])
        if known is None or known.body_bytes != len(data) - head_bytes:
            return None
        return known.request.with_body(data[head_bytes:])

    def keep(self, data: bytes, request: Request) -> None:
        """Remember a request, if it is whole and alone in what has come: a head, and the body as it stands.

        Args:
            data: What a client has sent since its latest whole request.
            request: The last one in it.
        """
        body_bytes = len(request.body)
        head_bytes = len(data) - body_bytes
        if data.find(END) + len(END) != head_bytes or head_bytes > LONGEST_BYTES or not request.keep_alive:
            return
        if len(self._known) >= MOST:
            self._known.clear()
        self._known[data[:head_bytes]] = _Known(request.without_body(), body_bytes)
