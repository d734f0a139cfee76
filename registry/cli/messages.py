"""The form of what goes to a server and comes back."""

from __future__ import annotations

from typing import Any, TypeVar

import msgspec

from registry.cli.errors import NoServer

T = TypeVar("T")


def understood(body: Any, type: type[T]) -> T:
    """An answer as the type that a command shows; fields that it does not show may be anything.

    Raises:
        NoServer: The answer is not of that form, as that of another version may be.
    """
    try:
        return msgspec.convert(body, type, strict=False)
    except msgspec.ValidationError as error:
        raise NoServer(f"the server's answer is not as expected ({error}); has it another version?") from None
