"""Public names of a package that are loaded when first used, so that each process loads only what it needs."""

from __future__ import annotations

import importlib

TYPE_CHECKING = False  # that of `typing` takes a while to load, and the packages load this first of all
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any


def lazily(package: str, homes: Mapping[str, str]) -> Callable[[str], Any]:
    """A `__getattr__` for a package.

    Args:
        package: The package's name.
        homes: The module within it where each public name lives.
    """

    def load(name: str) -> Any:
        home = homes.get(name)
        if home is None:
            message = f"module {package!r} has no attribute {name!r}"
            raise AttributeError(message)
        return getattr(importlib.import_module(f"{package}.{home}"), name)

    return load
