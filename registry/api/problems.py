"""Errors of the control plane as RFC 9457 problem details."""

from __future__ import annotations

from http import HTTPStatus

import msgspec

PROBLEM_JSON = "application/problem+json"


def problem_body(status: int, detail: str) -> bytes:
    r"""Render a problem.

    Args:
        status: The HTTP status.
        detail: One sentence about this very case.

    Example:
        >>> problem_body(404, "No such backend.")
        b'{"type":"about:blank","title":"Not Found","status":404,"detail":"No such backend."}'
    """
    title = HTTPStatus(status).phrase
    return msgspec.json.encode({"type": "about:blank", "title": title, "status": int(status), "detail": detail})
