"""The control API against its own OpenAPI document: thousands of requests, right and wrong ones, made from it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from registry import Backend, BackendStatus, Model
from tests.registry.api.conftest import ADMIN_KEY, Served

CONFIG = Path(__file__).with_name("schemathesis.toml")
BUDGET_S = 20
HELD_LEASES = 20


def test_control_api_is_as_documented(served: Served, tmp_path: Path) -> None:
    """Nothing that can be sent breaks it, or is answered otherwise than the document says.

    What is wrong by the document is refused, what is right is accepted, every answer has the declared status, header
    fields and body, the key is asked for, and what was added is there and what was removed is not.
    """
    served.registry.add_backend(Backend(url="http://a", models=[Model(id="m")], status=BackendStatus.HEALTHY))
    for _ in range(HELD_LEASES):
        served.registry.acquire("m")
    arguments = ("run", f"{served.url}/openapi.json", "--max-time", str(BUDGET_S), "--exclude-path", "/watch")
    # It writes what it has learnt into the working directory.
    run = subprocess.run(
        [sys.executable, "-m", "schemathesis.cli", "--config-file", str(CONFIG), "--no-color", *arguments],
        cwd=tmp_path,
        env={**os.environ, "ADMIN_KEY": ADMIN_KEY, "NO_PROXY": "*", "PYTHONIOENCODING": "utf-8"},
        capture_output=True,
        encoding="utf-8",
        check=False,
        timeout=5 * BUDGET_S,
    )
    assert run.returncode == 0, run.stdout + run.stderr
    assert "21 selected" in run.stdout
