"""What works, and what is said, without the optional dependencies."""

from __future__ import annotations

from tests.processes import program

WITHOUT = """
import sys
for name in ({names}):
    sys.modules[name] = None
sys.argv = ["actor-registry", "serve"]
"""

SERVER_EXTRA = '"typer", "rich", "structlog", "starlette", "uvloop", "httptools", "httpx2", "yaml", "prometheus_client"'


def test_the_registry_needs_no_web_framework() -> None:
    """`registry.Supervisor` runs with the three dependencies of a plain install."""
    script = WITHOUT.format(names=SERVER_EXTRA) + "import registry, doctest; sys.exit(doctest.testmod(registry).failed)"
    with program("-c", script) as run:
        assert run.ends() == 0, run.stdout + run.stderr


def test_the_command_says_what_to_install() -> None:
    """Without the server's dependencies the command ends with one sentence that names the extra."""
    with program("-c", WITHOUT.format(names=SERVER_EXTRA) + "from registry.cli.__main__ import main; main()") as run:
        assert run.ends() == 1
        assert run.stderr == "actor-registry: typer is missing; install actor-registry[server]\n"
