"""What is looked at before a request is handled: its path and method as they were sent, and its key."""

from __future__ import annotations

import hmac
from http import HTTPStatus

from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Receive, Scope, Send


class AsSent:
    """Lets paths be matched as they were sent, and HEAD be answered like GET (the server sends no body).

    The scope says by `head_only` that it is a HEAD, for an answer without an end.

    A slash that is part of a name can be told from one of the path, because it is percent-encoded; what belongs to a
    name is decoded where the name is read.

    Args:
        app: What answers.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        if scope["type"] == "http":
            head_only = scope["method"] == "HEAD"
            method = "GET" if head_only else scope["method"]
            path = scope["raw_path"].decode("latin-1")
            scope = {**scope, "path": path, "method": method, "head_only": head_only}
        await self._app(scope, receive, send)


class AdminKey:
    """Lets only those change something who have the key.

    Args:
        key: The key; None lets everybody.
    """

    def __init__(self, key: str | None) -> None:
        self._key = None if key is None else key.encode()

    def check(self, authorization: str | None) -> None:
        """Check the `Authorization` of a request.

        Raises:
            HTTPException: It does not hold the key.
        """
        if self._key is None:
            return
        scheme, _, given = (authorization or "").partition(" ")
        key = given.strip().encode("latin-1")
        if scheme.lower() != "bearer" or not key:
            raise _unauthorized("Changes need the admin key: send it as Authorization: Bearer KEY.")
        if not hmac.compare_digest(key, self._key):
            raise _unauthorized("The admin key that was sent is not the server's.", ', error="invalid_token"')


def _unauthorized(detail: str, more: str = "") -> HTTPException:
    challenge = f'Bearer realm="actor-registry"{more}'  # as RFC 6750 has it
    return HTTPException(HTTPStatus.UNAUTHORIZED, detail, {"WWW-Authenticate": challenge})
