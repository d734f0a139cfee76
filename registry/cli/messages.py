"""The form of what goes to a server and comes back."""

from __future__ import annotations

from typing import Any, TypeVar
from urllib.parse import quote

import msgspec

from registry.cli.errors import NoServer

T = TypeVar("T")


def path_of(*segments: str | int) -> str:
    """A path of which no part is taken for something else, such as an id with a slash or of dots.

    >>> path_of("backends", "gpu-1/a", "drain")
    '/backends/gpu-1%2Fa/drain'
    >>> path_of("backends", "..")
    '/backends/%2E%2E'
    """
    quoted = (quote(str(segment), safe=":") for segment in segments)
    return "/" + "/".join("%2E" * len(one) if not one.strip(".") else one for one in quoted)


def understood(body: Any, type: type[T]) -> T:
    """An answer as the type that a command shows; fields that it does not show may be anything.

    Raises:
        NoServer: The answer is not of that form, as that of another version may be.
    """
    try:
        return msgspec.convert(body, type, strict=False)
    except msgspec.ValidationError as error:
        raise NoServer(f"the server's answer is not as expected ({error}); has it another version?") from None
