"""Running commands in this process, which is quick."""

from __future__ import annotations

import os
import sys

import pytest

from registry.cli.app import run
from tests.registry.cli.commands import Command, Ended


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Command:
    """Runs a command as the console script does; the environment holds nothing of the project but what a test sets."""
    for name in [*os.environ]:
        if name.startswith("ACTOR_REGISTRY_"):
            monkeypatch.delenv(name)

    def call(*arguments: str) -> Ended:
        monkeypatch.setattr(sys, "argv", ["actor-registry", *arguments])
        capsys.readouterr()
        code = run()
        return Ended(code, *capsys.readouterr())

    return call
