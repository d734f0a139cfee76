"""`make docs`: all that is public has a docstring and stands in the pages."""

from __future__ import annotations

import importlib
import re
from pathlib import Path

import pytest

from registry.operations import Operations, operation
from tests.processes import program


@pytest.mark.parametrize("package", ["actors", "registry"])
def test_every_public_name_has_a_docstring_of_its_own(package: str) -> None:
    """One that is inherited, or made by a decorator, says nothing of the name itself."""
    module = importlib.import_module(package)
    for name in module.__all__:
        public = getattr(module, name)
        written = vars(public).get("__doc__") if isinstance(public, type) else public.__doc__
        assert written, name
        assert not written.startswith(f"{name}("), name


def test_the_pages_show_every_public_name_and_every_operation(tmp_path: Path) -> None:
    """They are written without a warning; what a package loads when it is first used is in them too."""
    with program("-m", "docs", str(tmp_path)) as run:
        assert run.ends(60) == 0, run.stderr
        assert run.stderr == ""
        assert run.stdout == f"The pages begin at {tmp_path / 'index.html'}\n"
    for package in ("actors", "registry"):
        assert shown(tmp_path / f"{package}.html") >= set(importlib.import_module(package).__all__)
    operations = {name for name in dir(Operations) if isinstance(getattr(Operations, name), operation)}
    assert "add_backend" in operations
    methods = {name.rpartition(".")[2] for page in tmp_path.glob("registry/**/*.html") for name in shown(page)}
    assert operations <= methods
    assert {"registry_supervisor", "running_registry"} <= shown(tmp_path / "registry" / "testing.html")
    assert (tmp_path / "index.html").exists()


def test_a_warning_is_an_error(tmp_path: Path) -> None:
    """A name that is promised and not there stops the build instead of being left out."""
    script = "import sys; from pathlib import Path; import registry.errors; from docs.__main__ import write; "
    script += "registry.errors.__all__.append('Nothing'); write(Path(sys.argv[1]))"
    with program("-c", script, str(tmp_path)) as run:
        assert run.ends(60) == 1
        assert "UserWarning: Found 'Nothing' in registry.errors.__all__" in run.stderr


def shown(page: Path) -> set[str]:
    """Names that have a place of their own in a page."""
    return set(re.findall(r'id="([A-Za-z_.]+)"', page.read_text()))
