"""One identifier for each request, the same here, upstream and in the answer."""

from __future__ import annotations

import itertools
import re
import secrets

# Nothing but visible ASCII can be put into a header or a log line without harm.
SANE = re.compile(rb"[\x21-\x7e]{1,128}")


class RequestIds:
    """Takes over a client's identifiers and makes new ones.

    A random prefix for each process and a counter are as unique as a random number for each request, and
    cheaper.
    """

    def __init__(self) -> None:
        self._prefix = b"req-%b-" % secrets.token_hex(8).encode()
        self._numbers = itertools.count(1)

    def identify(self, given: bytes | None) -> bytes:
        """Return the identifier of a request.

        Args:
            given: The client's `X-Request-Id`, used if it has 1 to 128 visible ASCII characters.
        """
        if given is not None and SANE.fullmatch(given):
            return given
        return b"%b%d" % (self._prefix, next(self._numbers))
