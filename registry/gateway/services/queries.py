"""What stands in a path, and behind its question mark."""

from __future__ import annotations

import functools
from typing import NamedTuple
from urllib.parse import parse_qsl, unquote_to_bytes

from registry.gateway.services.refused import bad_request

MAX_NAME_CHARS = 1024


class Wanted(NamedTuple):
    """Which services are asked for.

    Attributes:
        status: Only those of exactly this status; None for any.
        healthy: Only those that are healthy, or that are not; None for both.
    """

    status: str | None
    healthy: bool | None


def name_in(segment: bytes) -> str:
    """The name in a segment of a path; a slash that is part of it is percent-encoded.

    >>> name_in(b"a%2Fb+c")
    'a/b+c'

    Raises:
        ErrorAnswer: 400, it is no UTF-8.
    """
    try:
        return (unquote_to_bytes(segment) if b"%" in segment else segment).decode()
    except UnicodeDecodeError:
        raise bad_request("The name in the path is not UTF-8.") from None


@functools.lru_cache(maxsize=32)
def wanted_in(query: bytes) -> Wanted:
    """Read the query of a list; an empty value asks for nothing, and of several the first one counts.

    >>> wanted_in(b"status=&healthy=TRUE&healthy=no")
    Wanted(status=None, healthy=True)

    Raises:
        ErrorAnswer: 400, it is no UTF-8, or has too many parameters.
    """
    try:
        parameters = parse_qsl(query.decode(), keep_blank_values=True, errors="strict", max_num_fields=100)
    except UnicodeDecodeError:
        raise bad_request("The query is not UTF-8.") from None
    except ValueError:
        raise bad_request("The query has more than 100 parameters.") from None
    first = dict(reversed(parameters))
    healthy = first.get("healthy")
    return Wanted(first.get("status") or None, healthy.lower() == "true" if healthy else None)
