"""`python -m docs [DIRECTORY]` writes pages about all that is public, from its docstrings; a warning is an error."""

from __future__ import annotations

import importlib
import pkgutil
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path

import pdoc
import pdoc.render

PACKAGES = ("actors", "registry")
"""What has a table of contents."""

MODULES = (
    *("actors.errors", "actors.statistics"),
    *("registry.errors", "registry.metrics", "registry.operations", "registry.testing"),
)
"""What is public besides: all errors, what statistics hold, what both faces can do, fixtures for tests."""

DIRECTORY = Path("build/docs")
"""Where the pages go unless another place is named."""


def load_public_names(package: str) -> None:
    """Put what a package loads when it is first used into the package, which is where pdoc looks."""
    module = importlib.import_module(package)
    for name in module.__all__:
        setattr(module, name, getattr(module, name))


def pages() -> Iterator[str]:
    """The modules that have a page; of a package named in `MODULES`, its own modules too."""
    yield from PACKAGES
    for name in MODULES:
        yield name
        path = getattr(importlib.import_module(name), "__path__", ())
        yield from (f"{name}.{info.name}" for info in pkgutil.iter_modules(path))


def write(directory: Path) -> None:
    """Write all pages; `index.html` is the first.

    Args:
        directory: Where to; what it holds of the same names is replaced.

    Raises:
        Warning: Something that belongs into the pages is not there, or cannot be read.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for package in PACKAGES:
            load_public_names(package)
        pdoc.render.configure(docformat="google")
        pdoc.pdoc(*pages(), output_directory=directory)


if __name__ == "__main__":
    directory = Path(sys.argv[1]) if len(sys.argv) > 1 else DIRECTORY
    write(directory)
    sys.stdout.write(f"The pages begin at {directory / 'index.html'}\n")
