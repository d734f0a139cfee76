"""Which version this is."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version


def installed_version() -> str:
    """The version of the installed distribution, or a sentence that says that there is none."""
    try:
        return version("actor-registry")
    except PackageNotFoundError:
        return "(run from a checkout that is not installed)"
