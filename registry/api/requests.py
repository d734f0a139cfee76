"""What is looked at before a request is handled: its path and method as they were sent, and its key."""

from __future__ import annotations

from http import HTTPStatus

from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Receive, Scope, Send

from registry.api.admin_key import AdminKey


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


def refuse_without_key(key: AdminKey, authorization: str | None) -> None:
    """Check the `Authorization` of a request.

    Raises:
        HTTPException: It does not hold the key.
    """
    refused = key.refuse(None if authorization is None else authorization.encode("latin-1"))
    if refused is not None:
        raise HTTPException(HTTPStatus.UNAUTHORIZED, refused.detail, {"WWW-Authenticate": refused.challenge})
