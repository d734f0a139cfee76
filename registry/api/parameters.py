"""What stands in a path, a query or a header field, with its limits."""

from __future__ import annotations

from typing import Annotated
from urllib.parse import unquote_to_bytes

from fastapi import Header, Path, Query
from pydantic import BeforeValidator, Field
from starlette.convertors import Convertor, register_url_convertor

from registry.kinds import BackendStatus, BackendType

MAX_INT = 2**63 - 1
MAX_LABELS = 10


class BackendIdConvertor(Convertor[str]):
    """A backend's id in a path. It may hold slashes, but what ends in `/drain` is an action and no id."""

    regex = "(?!.*/(?:un)?drain$).*"

    def convert(self, value: str) -> str:
        """Leave it as it is: it is decoded where it is checked."""
        return value

    def to_string(self, value: str) -> str:
        """Leave it as it is."""
        return value


register_url_convertor("backend_id", BackendIdConvertor())


def _decoded(sent: str) -> str:
    # As the server hands it on: each byte is a character.
    try:
        return unquote_to_bytes(sent.encode("latin-1")).decode()
    except UnicodeDecodeError:
        raise ValueError("is not UTF-8") from None


BackendId = Annotated[
    Annotated[str, Field(min_length=1, max_length=512)],
    BeforeValidator(_decoded),
    Path(description="Id of a backend; percent-encoded, but slashes may stay."),
]


def _whole(sent: object) -> object:
    # Pydantic would take "1_0" for 10, and "1.0" for 1.
    if isinstance(sent, str) and not (sent.isascii() and sent.isdigit()):
        raise ValueError("must be a whole number, in digits")
    return sent


LeaseId = Annotated[
    Annotated[int, Field(ge=1, le=MAX_INT)], BeforeValidator(_whole), Path(description="Number of a lease.")
]
ModelFilter = Annotated[
    str | None, Query(min_length=1, max_length=1024, description="Only those that have this model.")
]
StatusFilter = Annotated[BackendStatus | None, Query(description="Only those in this status.")]
TypeFilter = Annotated[BackendType | None, Query(description="Only those of this type.")]
LabelFilter = Annotated[
    list[Annotated[str, Field(pattern=r"^[^:]{1,512}:", max_length=4609)]],
    Query(
        default_factory=list,
        max_length=MAX_LABELS,
        description="Only those with this label, as `key:value`; given again, with all of them.",
    ),
]
BackendFilter = Annotated[str | None, Query(min_length=1, max_length=512, description="Only those on this backend.")]
Since = Annotated[
    Annotated[int, Field(ge=0, le=MAX_INT), BeforeValidator(_whole)] | None,
    Query(description="The revision after which the changes begin."),
]
Limit = Annotated[Annotated[int, Field(ge=1, le=1_000)], BeforeValidator(_whole), Query(description="Most changes.")]
LastEventId = Annotated[
    str | None,
    Header(
        alias="Last-Event-ID",
        pattern="^(0|[1-9][0-9]{0,17})$",
        description="The revision of the last change that was received; it goes over `since`.",
    ),
]


def labels_of(labels: list[str]) -> dict[str, str]:
    """The labels that are asked for; the key ends at the first colon.

    >>> labels_of(["zone:eu", "url:http://x"])
    {'zone': 'eu', 'url': 'http://x'}
    """
    return {key: value for key, _, value in (label.partition(":") for label in labels)}
