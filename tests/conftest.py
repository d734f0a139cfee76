"""Settings for all tests."""

from __future__ import annotations

import gc
import signal
from collections import Counter
from collections.abc import Iterator

import pytest
from hypothesis import settings

from tests.processes import open_files

# How long an example takes depends on what else the machine does; a slow one is no failure.
settings.register_profile("default without deadlines", deadline=None)
settings.load_profile("default without deadlines")

# A shell lets what a script starts in the background ignore Ctrl-C, and the programs that tests start would inherit it.
signal.signal(signal.SIGINT, signal.default_int_handler)

MOST_LEFT = 100
"""Descriptors that the standard library and others may keep open for as long as the process lives."""


@pytest.fixture(scope="session", autouse=True)
def _descriptors_are_closed() -> Iterator[None]:
    """All tests run in one process, which may have 1,024 descriptors by default: they close what they open."""
    before = len(open_files())
    yield
    gc.collect()  # what an exception has held on to may still be there
    after = open_files()
    assert len(after) <= before + MOST_LEFT, Counter(file.rstrip("[]0123456789") for file in after).most_common(5)
