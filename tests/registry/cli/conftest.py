"""Running commands in this process, which is quick, against a server that runs in processes of its own."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator

import pytest

from registry.cli.app import run
from tests.polling import until
from tests.processes import program
from tests.registry.cli.commands import ADMIN_KEY, Command, Ended, Served


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """The environment, which holds nothing of the project but what a test sets."""
    for name in [*os.environ]:
        if name.startswith("ACTOR_REGISTRY_"):
            monkeypatch.delenv(name)
    return monkeypatch


@pytest.fixture
def command(environment: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Command:
    """Runs a command as the console script does."""

    def call(*arguments: str) -> Ended:
        environment.setattr(sys, "argv", ["actor-registry", *arguments])
        capsys.readouterr()
        code = run()
        return Ended(code, *capsys.readouterr())

    return call


@pytest.fixture(scope="package")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A server whose changes need the admin key, and which leaves the backends of the tests alone.

    The addresses of those are made up: its health checker is stopped, so that it finds out nothing of them.
    """
    directory = tmp_path_factory.mktemp("served")
    config = directory / "server.yaml"
    config.write_text("port: 0\ngateways: 1\nadmin_key_env: THE_KEY\n")
    arguments = ("-m", "registry", "serve", "--config", str(config), "--data-dir", str(directory))
    with program(*arguments, THE_KEY=ADMIN_KEY) as run:
        url = until(run.address, "the server serves", 20)
        checker = run.pid("health")
        os.kill(checker, signal.SIGSTOP)
        try:
            yield Served(directory, url, run)
        finally:
            os.kill(checker, signal.SIGCONT)
        assert "Traceback" not in run.stderr
        run.kill(signal.SIGTERM)
        assert run.ends() == 0


@pytest.fixture
def served(server: Served, environment: pytest.MonkeyPatch) -> Served:
    """The server, for which all commands of the test are meant: the environment holds its directory and the key."""
    environment.setenv("ACTOR_REGISTRY_DATA_DIR", str(server.directory))
    environment.setenv("ACTOR_REGISTRY_ADMIN_KEY", ADMIN_KEY)
    return server
