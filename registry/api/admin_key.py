"""The key that changes need."""

from __future__ import annotations

import hmac
from typing import NamedTuple

REALM = 'Bearer realm="actor-registry"'


class KeyRefusal(NamedTuple):
    """Why somebody may change nothing.

    Attributes:
        detail: One sentence.
        challenge: What `WWW-Authenticate` says, as RFC 6750 has it.
    """

    detail: str
    challenge: str


class AdminKey:
    """Tells those who may change something by their key.

    Args:
        key: The key; None lets everybody.
    """

    def __init__(self, key: str | None) -> None:
        self._key = None if key is None else key.encode()

    def refuse(self, authorization: bytes | None) -> KeyRefusal | None:
        """Why the sender of this `Authorization` may change nothing, or None if it may."""
        if self._key is None:
            return None
        scheme, _, given = (authorization or b"").partition(b" ")
        key = given.strip()
        if scheme.lower() != b"bearer" or not key:
            return KeyRefusal("Changes need the admin key: send it as Authorization: Bearer KEY.", REALM)
        if not hmac.compare_digest(key, self._key):
            return KeyRefusal("The admin key that was sent is not the server's.", f'{REALM}, error="invalid_token"')
        return None
