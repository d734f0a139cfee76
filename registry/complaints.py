"""What is wrong with settings, in words."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from typing import get_args

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
    *path, last = detail["loc"] or ("",)
    where = table + "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in detail["loc"]).lstrip(".")
    if detail["type"] == "extra_forbidden":
        close = difflib.get_close_matches(str(last), _keys(model, path), n=1)
        return f"unknown key {where!r}" + (f"; did you mean {close[0]!r}?" if close else "")
    message = detail["msg"].removeprefix("Value error, ")
    if detail["type"] in {"tuple_type", "frozen_set_type"}:
        message = "must be a list"
    return f"{where}: {message}" if where else message


def _keys(model: type[BaseModel], path: Iterable[int | str]) -> list[str]:
    """The keys that a table of these settings may have."""
    for part in path:
        if isinstance(part, str):
            inner = _table_at(model, part)
            if inner is None:
                return []
            model = inner
    return [field.alias or name for name, field in model.model_fields.items()]


def _table_at(model: type[BaseModel], key: str) -> type[BaseModel] | None:
    """What stands at a key: a table, or a list of them."""
    field = model.model_fields.get(key)
    kinds = () if field is None else (field.annotation, *get_args(field.annotation))
    return next((kind for kind in kinds if isinstance(kind, type) and issubclass(kind, BaseModel)), None)
