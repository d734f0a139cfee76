"""What the README shows works."""

from __future__ import annotations

import re
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from registry import Backend, BackendStatus, Model, Supervisor
from registry.config import load_config
from tests.processes import ROOT, program


def block(language: str, holding: str) -> str:
    """The one code block of a language that holds a text."""
    blocks = re.findall(rf"^```{language}\n(.*?)^```", (ROOT / "README.md").read_text(), re.DOTALL | re.MULTILINE)
    (found,) = [text for text in blocks if holding in text]
    return str(found)


def test_the_settings_are_valid(tmp_path: Path) -> None:
    """The YAML file is accepted, and shows the defaults where it does not name backends."""
    path = tmp_path / "server.yaml"
    path.write_text(block("yaml", "backends:"))
    config = load_config(path, {}, {"MODELS_KEY": "sk-x"})
    assert [backend.backend().id for backend in config.backends] == ["127.0.0.1:11434", "rented"]
    assert config.model_copy(update={"backends": ()}) == load_config(None, {}, {})


class _Models(BaseHTTPRequestHandler):
    """Stands in for an AI server: every GET is answered."""

    def do_GET(self) -> None:
        """Answer."""
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b"{}")

    def log_message(self, *_: object) -> None:
        """Say nothing."""


def test_the_example_of_another_program(tmp_path: Path) -> None:
    """It joins the system of the default directory; the one here is a `Supervisor` of the test's own."""
    with Supervisor(tmp_path / "actor-registry") as supervisor:
        supervisor.registry.add_backend(
            Backend(url="http://a:8000", models=(Model(id="llama3"),), status=BackendStatus.HEALTHY)
        )
        script = tmp_path / "example.py"
        script.write_text(block("python", "registry.connect()"))
        with program(str(script), XDG_STATE_HOME=str(tmp_path)) as run:
            assert run.ends(30) == 0, run.stderr
            assert run.stdout == "http://a:8000\n"
        assert supervisor.registry.get_leases() == []


def test_the_python_example_runs_and_ends(tmp_path: Path) -> None:
    """As a script of its own, as often as one likes; the AI server behind it is a stand-in."""
    with ThreadingHTTPServer(("127.0.0.1", 0), _Models) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        script = tmp_path / "example.py"
        script.write_text(block("python", "def worker").replace(":11434", f":{server.server_port}"))
        for _ in range(2):
            with program(str(script)) as run:
                assert run.ends(30) == 0, run.stderr
                assert run.stdout.count("exit code 0") == 2
                assert "pending_requests=0, total_requests=8" in run.stdout
                run.leaves_nothing_running()
        server.shutdown()
