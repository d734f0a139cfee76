"""A stream of server-sent events that can be broken off without anybody mistaking it for whole.

Events end with an empty line, but a network splits bytes anywhere. If what a broken upstream sent last were
passed on as it is, an error event behind it would be glued to half an event. So bytes are passed on up to the
last line end, and the beginning of a line waits for its rest; no client can use it before.
"""

from __future__ import annotations

MAX_HELD_BYTES = 1024 * 1024
DONE = b"data: [DONE]\n\n"
TAIL_BYTES = len(DONE)


class EventStream:
    """Follows one stream on its way to a client."""

    __slots__ = ("_held", "_tail")

    def __init__(self) -> None:
        self._held = b""
        # The last bytes passed on: the stream's beginning is as good as the end of an event.
        self._tail = b"\n\n"

    def feed(self, data: bytes) -> bytes:
        r"""Take a piece of the stream.

        Args:
            data: Any piece, not empty.

        Returns:
            What to pass on now, perhaps nothing.

        Example:
            >>> stream = EventStream()
            >>> stream.feed(b"data: 1\n\nda"), stream.feed(b"ta: 2\n")
            (b'data: 1\n\n', b'data: 2\n')
        """
        if self._held:
            data = self._held + data
            self._held = b""
        if not data.endswith(b"\n"):
            end = data.rfind(b"\n") + 1
            # A line longer than this is passed on in pieces: holding without limit would be worse.
            if len(data) - end <= MAX_HELD_BYTES:
                data, self._held = data[:end], data[end:]
        if data:
            self._tail = (self._tail + data[-TAIL_BYTES:])[-TAIL_BYTES:]
        return data

    def finish(self) -> bytes:
        """Return what is left at the regular end of the stream."""
        held, self._held = self._held, b""
        return held

    def break_off(self, error: bytes) -> bytes:
        """End the stream with an error.

        Args:
            error: A JSON object on one line.

        Returns:
            What to send: the end of an event that has begun, the error as an event, and the end of the
            stream. A line that never came whole is dropped.
        """
        if self._tail == DONE[-TAIL_BYTES:]:
            return b""  # all was said; only the connection ended badly
        self._held = b""
        close = b"" if self._tail.endswith((b"\n\n", b"\r\n\r\n")) else b"\n\n"
        return b"%bdata: %b\n\n%b" % (close, error, DONE)
