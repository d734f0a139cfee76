"""`python -m docs [DIRECTORY]` writes a page about each module of `actors` and `registry`; a warning is an error."""

from __future__ import annotations

import importlib
import sys
import warnings
from pathlib import Path

import pdoc
import pdoc.render

PACKAGES = ("actors", "registry")

DIRECTORY = Path("build/docs")
"""Where the pages go unless another place is named."""


def load_public_names(package: str) -> None:
    """Put what a package loads when it is first used into the package, where pdoc looks for it."""
    module = importlib.import_module(package)
    for name in module.__all__:
        setattr(module, name, getattr(module, name))


def write(directory: Path) -> None:
    """Write all pages; `index.html` is the first.

    Args:
        directory: Where to; what it holds of the same names is replaced.

    Raises:
        Warning: Something that should be in the pages could not be imported, read or linked.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for package in PACKAGES:
            load_public_names(package)
        pdoc.render.configure(docformat="google")
        pdoc.pdoc(*PACKAGES, output_directory=directory)


if __name__ == "__main__":
    write(Path(sys.argv[1]) if len(sys.argv) > 1 else DIRECTORY)
