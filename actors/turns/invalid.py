"""From msgspec's complaint about a command to the field that is wrong."""

from __future__ import annotations

import re

import msgspec

from actors.errors import CommandInvalid

_PATH = re.compile(r"^(?P<reason>.*?)(?: - at `(?P<path>.*)`)?$", re.DOTALL)
_UNKNOWN = re.compile(r"Object contains unknown field `(?P<field>.*)`")
_MISSING = re.compile(r"Object missing required field `(?P<field>.*)`")


def explain(error: Exception) -> CommandInvalid:
    """The typed error for a command that could not be decoded; `error` is one of `UNDECODABLE`.

    >>> class Add(msgspec.Struct, tag=True):
    ...     amount: int
    >>> raw = msgspec.Raw(msgspec.msgpack.encode({"type": "Add", "amount": "x"}))
    >>> try:
    ...     msgspec.msgpack.decode(raw, type=Add)
    ... except msgspec.DecodeError as error:
    ...     str(explain(error))
    'amount: Expected `int`, got `str`'
    """
    if not isinstance(error, msgspec.DecodeError):
        return CommandInvalid("", str(error))
    match = _PATH.match(str(error))
    reason, path = (match["reason"], match["path"] or "$") if match else (str(error), "$")
    field = path.removeprefix("$").lstrip(".")
    for pattern in (_UNKNOWN, _MISSING):
        if found := pattern.match(reason):
            field = f"{field}.{found['field']}" if field else found["field"]
            reason = "unknown field" if pattern is _UNKNOWN else "this field is required"
    return CommandInvalid(field, reason)
