"""What the README and the pages beside it show works."""

from __future__ import annotations

import inspect
import re
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from registry import Backend, BackendStatus, Model, Registry, Supervisor
from registry.babysitter.settings import Settings, load_settings
from registry.cli.run import run
from registry.config import BackendConfig, Config, load_config
from tests.processes import ROOT, program
from tests.registry.services.stand_in import StandIn, serving

PAGES = ("README.md", *(f"docs/{name}.md" for name in ("babysitter", "cli", "http", "python", "settings")))
"""Where examples stand."""


def blocks(page: str, language: str) -> list[str]:
    """All code blocks of a language."""
    return re.findall(rf"^```{language}\n(.*?)^```", (ROOT / page).read_text(), re.DOTALL | re.MULTILINE)


def block(language: str, holding: str) -> str:
    """The one code block of a language that holds a text."""
    (found,) = [text for page in PAGES for text in blocks(page, language) if holding in text]
    return found


def test_the_links_lead_somewhere() -> None:
    """Each page that is named is there, and so is the heading."""
    for page in PAGES:
        links = re.findall(r"\]\((?!https?:)([^)#]*)#?([^)]*)\)", (ROOT / page).read_text())
        for name, heading in links:
            target = (ROOT / page).parent / name if name else ROOT / page
            headings = re.findall(r"^#+ (.*)$", target.read_text(), re.MULTILINE)
            assert not heading or heading in {text.lower().replace(" ", "-") for text in headings}, heading


def test_the_settings_are_valid(tmp_path: Path) -> None:
    """The YAML file is accepted, names every setting, and shows the defaults where it does not name backends."""
    path = tmp_path / "server.yaml"
    text = block("yaml", "backends:")
    path.write_text(text)
    config = load_config(path, {}, {"MODELS_KEY": "sk-x"})
    assert [backend.backend().id for backend in config.backends] == ["127.0.0.1:11434", "rented"]
    assert config.model_copy(update={"backends": ()}) == load_config(None, {}, {})
    named = set(re.findall(r"^ *(?:- )?(\w+):|or  (\w+):", text, re.MULTILINE))
    assert {first or second for first, second in named} >= {*Config.model_fields, *BackendConfig.model_fields}


class _Models(BaseHTTPRequestHandler):
    """Stands in for an AI server: every GET is answered."""

    def do_GET(self) -> None:
        """Answer."""
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b"{}")

    def log_message(self, *_: object) -> None:
        """Say nothing."""


LLAMA = Backend(url="http://a:8000", id="llama", models=(Model(id="llama3"),), status=BackendStatus.HEALTHY)


@pytest.mark.parametrize(
    ("holding", "printed"),
    [("registry.connect()", "llama healthy 0\nhttp://a:8000\n"), ("connect_async()", "http://a:8000\n")],
)
def test_the_examples_of_other_programs(tmp_path: Path, holding: str, printed: str) -> None:
    """They join the system of the default directory; the one here is a `Supervisor` of the test's own."""
    with Supervisor(tmp_path / "actor-registry") as supervisor:
        supervisor.registry.add_backend(LLAMA)
        script = tmp_path / "example.py"
        script.write_text(block("python", holding))
        with program(str(script), XDG_STATE_HOME=str(tmp_path)) as run:
            assert run.ends(30) == 0, run.stderr
            assert run.stdout == printed
        assert supervisor.registry.get_leases() == []


def test_the_short_python_examples_run(capsys: pytest.CaptureFixture[str]) -> None:
    """A batch, leases, reads and the history, on a registry that has one backend of the model."""
    with Supervisor() as supervisor:
        registry = supervisor.registry
        registry.add_backend(LLAMA)
        for holding in ("registry.batch", "registry.acquire", "registry.history"):
            exec(block("python", holding), {"registry": registry, "Registry": Registry})  # noqa: S102 - our own pages
        assert registry.backend_count(fresh=True) == 3
        assert registry.get_leases() == []
    lease, backend, *changes = capsys.readouterr().out.splitlines()
    assert lease == "llama http://a:8000"
    assert "pending_requests=0 total_requests=2" in backend
    assert [line.split()[-1] for line in changes] == ["AddBackend", "Batch"]


@pytest.mark.parametrize(
    ("holding", "printed"),
    [("with (\n    ServiceClient", "registered ['llama']\n"), ("AsyncServiceClient", "healthy\n")],
)
def test_the_examples_of_services(tmp_path: Path, holding: str, printed: str) -> None:
    """They keep themselves registered at a registry, and unregister themselves."""
    stand_in = StandIn()
    with serving(stand_in) as url:
        script = tmp_path / "example.py"
        script.write_text(block("python", holding).replace("http://127.0.0.1:8081", url))
        with program(str(script)) as run:
            assert run.ends(30) == 0, run.stderr
            assert run.stdout == printed
    assert stand_in.lines("POST") == ["POST /services"]
    assert stand_in.services == {}


def test_the_babysitter(tmp_path: Path) -> None:
    """The example of a file can be read; the page names every flag with its default."""
    file = tmp_path / "one.toml"
    file.write_text(block("toml", "[backend]"))
    settings = load_settings(file, {}, {})
    assert settings.command[-1] == "8200"
    assert settings.metadata == {"cache_type": "paged"}
    page = (ROOT / "docs/babysitter.md").read_text()
    shown = dict(re.findall(r"^\| `--([a-z-]+)` \|(?: `?([^|`]*?)`?)? \|", page, re.MULTILINE))
    for option in set(inspect.signature(run).parameters) - {"command"}:
        field = Settings.model_fields.get(option) or Settings.model_fields.get(f"{option}_s")
        default = None if field is None or field.is_required() else field.default
        if isinstance(default, float | int | str):
            assert shown[option.replace("_", "-")] == (f"{default:g}" if isinstance(default, float) else str(default))
        else:
            assert option.replace("_", "-") in shown


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
                assert "\nimporter " in run.stdout
                assert "pending_requests=0, total_requests=8" in run.stdout
                run.leaves_nothing_running()
        server.shutdown()
