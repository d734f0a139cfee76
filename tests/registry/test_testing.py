"""`registry.testing`: the fixtures in tests as a user writes them, run by a pytest of their own."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.processes import ROOT, program, running
from tests.test_readme import block

pytest_plugins = ["pytester"]

TESTS = """
import os
from pathlib import Path

import registry
from registry import Backend, BackendStatus, Model, Registry

pytest_plugins = ["registry.testing"]

LLAMA = Backend(url="http://127.0.0.1:1", id="llama", models=[Model(id="llama3")], status=BackendStatus.HEALTHY)


def work(registry: Registry) -> None:
    with registry.lease("llama3"):
        pass


def note(supervisor):
    pids = [supervisor.pid, *(info.pid for info in supervisor.processes())]
    with Path("seen").open("a") as seen:
        print(supervisor.path, *pids, file=seen)


def test_it_runs(registry_supervisor, running_registry):
    note(registry_supervisor)
    running_registry.add_backend(LLAMA)
    assert registry_supervisor.spawn(work).join(30).code == 0
    assert running_registry.get_backend("llama", fresh=True).total_requests == 1


def test_it_is_empty_again_and_can_be_joined(running_registry, registry_supervisor):
    note(registry_supervisor)
    assert running_registry.get_all_backends() == []
    with registry.connect(registry_supervisor.path) as joined:
        joined.add_backend(LLAMA)
    assert running_registry.get_backend("llama", fresh=True) is not None


def test_that_fails(running_registry, registry_supervisor):
    note(registry_supervisor)
    running_registry.add_backend(LLAMA)
    running_registry.acquire("llama3")
    raise AssertionError
"""


def test_each_test_has_a_system_that_leaves_nothing(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    """A test can spawn and join, the next one starts with nothing, and all is gone afterwards, a failed test's too.

    The example of `docs/python.md` is one of them.
    """
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    pytester.makepyfile(TESTS, test_readme=block("python", "registry.testing"))
    pytester.runpytest_subprocess("-W", "error").assert_outcomes(passed=3, failed=1)
    systems = [line.split() for line in (pytester.path / "seen").read_text().splitlines()]
    assert len({directory for directory, *_ in systems}) == 3
    for directory, *pids in systems:
        assert not Path(directory).exists()
        assert len(pids) == 2
        assert running([int(pid) for pid in pids]) == []


def test_without_pytest_it_says_what_is_missing() -> None:
    """Its import ends with a sentence that names what to install."""
    with program("-c", "import sys; sys.modules['pytest'] = None; import registry.testing") as run:
        assert run.ends() == 1
        assert run.stderr.splitlines()[-1] == (
            "ImportError: registry.testing has fixtures for pytest, which is not installed: pip install pytest"
        )
