"""Errors of the control plane as RFC 9457 problem details."""

from __future__ import annotations

from collections.abc import Sequence
from http import HTTPStatus

import msgspec

PROBLEM_JSON = "application/problem+json"


class FieldError(msgspec.Struct, frozen=True):
    """What is wrong with one field of a request.

    Attributes:
        field: Its name; for one within another `models[0].id`, for a header field or a parameter that one's name.
        reason: What is wrong with it.
    """

    field: str
    reason: str


def problem_body(status: int, detail: str, errors: Sequence[FieldError] = ()) -> bytes:
    r"""Render a problem.

    Args:
        status: The HTTP status.
        detail: One sentence about this very case.
        errors: The fields at fault, if it is about fields.

    Example:
        >>> problem_body(404, "No such backend.")
        b'{"type":"about:blank","title":"Not Found","status":404,"detail":"No such backend."}'
    """
    title = HTTPStatus(status).phrase
    problem = {"type": "about:blank", "title": title, "status": int(status), "detail": detail}
    return msgspec.json.encode({**problem, "errors": errors} if errors else problem)
