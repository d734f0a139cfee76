"""What is wrong with settings, in words."""

from __future__ import annotations

import difflib

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

_MOST = 5


def in_words(error: ValidationError, model: type[BaseModel], table: str = "") -> str:
    """The first few complaints about settings, without their values: these may be secrets.

    Args:
        error: What pydantic says.
        model: The settings.
        table: What stands before the names of their keys.
    """
    return "; ".join(_sentence(detail, model, table) for detail in error.errors()[:_MOST])


def _sentence(detail: ErrorDetails, model: type[BaseModel], table: str) -> str:
    where = table + ".".join(str(part) for part in detail["loc"])
    if detail["type"] == "extra_forbidden":
        known = _keys(model, detail["loc"][:-1])
        close = difflib.get_close_matches(str(detail["loc"][-1]), known, n=1)
        return f"unknown key {where!r}" + (f"; did you mean {close[0]!r}?" if close else "")
    message = detail["msg"].removeprefix("Value error, ")
    return f"{where}: {message}" if where else message


def _keys(model: type[BaseModel], path: tuple[int | str, ...]) -> list[str]:
    """The keys that a table of these settings may have."""
    for part in path:
        inner = model.model_fields[str(part)].annotation if str(part) in model.model_fields else None
        if not (isinstance(inner, type) and issubclass(inner, BaseModel)):
            return []
        model = inner
    return [field.alias or name for name, field in model.model_fields.items()]
