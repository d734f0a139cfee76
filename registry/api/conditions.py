"""Conditions of a change: `If-Match` and `If-None-Match` (RFC 9110, section 13.1), over the revision of a backend."""

from __future__ import annotations

import re
from typing import Annotated, NamedTuple

from fastapi import Depends, Header

# A weak tag (`W/"7"`) stands for no revision: for a change only strong ones count.
_TAG = re.compile(r'(?:^|,)\s*"(0|[1-9][0-9]{0,17})"\s*(?=,|$)')


class Tags(NamedTuple):
    """What stands in such a field.

    Attributes:
        any: It is `*`, which stands for whatever there is.
        revisions: Those that it names; what can be the tag of no backend is left out.
    """

    any: bool
    revisions: frozenset[int]

    @property
    def only(self) -> int | None:
        """The revision, if it is just one."""
        return next(iter(self.revisions)) if len(self.revisions) == 1 else None


class Conditions(NamedTuple):
    """What must be so for a change to be made.

    Attributes:
        match: The backend is there and has one of these; None if it may have any or not be there.
        none_match: The backend is not there or has none of these; None if it may have any.
    """

    match: Tags | None
    none_match: Tags | None


def tags(field: str) -> Tags:
    """Read a field.

    >>> tags('"3", "5"').revisions == {3, 5}
    True
    >>> tags("*").any
    True
    """
    return Tags(field.strip() == "*", frozenset(map(int, _TAG.findall(field))))


def etag(revision: int) -> str:
    """The `ETag` of a revision.

    >>> etag(7)
    '"7"'
    """
    return f'"{revision}"'


IfMatch = Annotated[
    str | None,
    Header(
        alias="If-Match",
        description='The `ETag` of the backend that the change is meant for, such as `"7"`; 412 if it has another one.',
    ),
]
IfNoneMatch = Annotated[
    str | None, Header(alias="If-None-Match", description="`*`: 412 if there is a backend of this id already.")
]


def _if_match(if_match: IfMatch = None) -> Tags | None:
    return None if if_match is None else tags(if_match)


def _conditions(if_match: IfMatch = None, if_none_match: IfNoneMatch = None) -> Conditions:
    return Conditions(_if_match(if_match), None if if_none_match is None else tags(if_none_match))


MatchTags = Annotated[Tags | None, Depends(_if_match)]
PutConditions = Annotated[Conditions, Depends(_conditions)]
