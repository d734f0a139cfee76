"""`python -m registry`: what is said on the command line, and how it ends."""

from __future__ import annotations

import importlib.metadata
import json
import logging
import re
import signal
import socket
import sys
import urllib.request
from pathlib import Path

import httpx2
import pytest

from registry.cli.__main__ import main
from registry.owner_log import JsonLines, TextLines
from tests.polling import until
from tests.processes import Program, program

SECRET = "sk-do-not-show"


def serving(run: Program) -> str:
    """The address of a server, once it serves."""
    return until(run.address, "the server serves", 20)


def refused(*arguments: str, code: int, **extra: str) -> str:
    """What is said to a command that cannot be followed: one sentence, no traceback, nothing left running."""
    with program("-m", "registry", *arguments, **extra) as run:
        assert run.ends() == code, run.stderr
        run.leaves_nothing_running()
        said = run.stderr
        assert run.stdout == ""
    assert "Traceback" not in said
    assert SECRET not in said
    return said


def sentence(*arguments: str, code: int, **extra: str) -> str:
    """The one line that is said, without the name of the program."""
    said = refused(*arguments, code=code, **extra)
    (line,) = said.splitlines()
    assert line.startswith("actor-registry: ")
    return line.removeprefix("actor-registry: ")


def test_version() -> None:
    """`--version` prints the version of the distribution, or that there is none."""
    with program("-m", "registry", "--version") as run:
        assert run.ends() == 0
        try:
            version = importlib.metadata.version("actor-registry")
        except importlib.metadata.PackageNotFoundError:
            version = "(run from a checkout that is not installed)"
        assert run.stdout == f"actor-registry {version}\n"
        assert run.stderr == ""


@pytest.mark.parametrize("command", [[], ["serve"]])
def test_help(command: list[str]) -> None:
    """`--help` explains the command and every flag."""
    with program("-m", "registry", *command, "--help") as run:
        assert run.ends() == 0
        expected = ["--host", "--port", "--gateways", "--data-dir", "--ephemeral", "--backend", "--config"]
        expected += ["--health-interval", "--health-timeout", "--cleanup-interval"]
        for word in expected if command else ["serve", "--version"]:
            assert word in run.stdout
        assert run.stderr == ""


def test_no_command_shows_the_help() -> None:
    """Without a command the help is shown, and nothing is started."""
    with program("-m", "registry") as run:
        assert run.ends() == 2
        assert "serve" in run.stdout + run.stderr
        run.leaves_nothing_running()


def test_port_in_use() -> None:
    """A port that another program has is named, with the flag that helps."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        said = sentence("serve", "--ephemeral", "--port", str(port), code=1)
    assert said == f"port {port} of 127.0.0.1 is in use by another program; choose one with --port"


@pytest.mark.parametrize(("host", "warned"), [("0.0.0.0", True), ("127.0.0.1", False)])
def test_open_to_all(host: str, warned: bool) -> None:
    """Whoever lets other machines change things without a key is told so at the start."""
    with program("-m", "registry", "serve", "--ephemeral", "--port", "0", "--gateways", "1", "--host", host) as run:
        serving(run)
        run.kill(signal.SIGTERM)
        assert run.ends() == 0
        assert ("may register and change things" in run.stderr) is warned


@pytest.mark.parametrize("host", ["no.such.host.invalid", "203.0.113.7", "ho st"])
def test_host_that_is_not_this_machine(host: str) -> None:
    """An address that cannot be listened on is named."""
    assert sentence("serve", "--ephemeral", "--port", "0", "--host", host, code=1).startswith("cannot listen on ")


def test_unreadable_config(tmp_path: Path) -> None:
    """A configuration that is not there is named, with the reason."""
    path = tmp_path / "missing.yaml"
    said = sentence("serve", "--config", str(path), code=2)
    assert said == f"{path} cannot be read: No such file or directory"


def test_unknown_key(tmp_path: Path) -> None:
    """A mistyped key is named, with the right one."""
    path = tmp_path / "server.yaml"
    path.write_text("prot: 1\n")
    assert sentence("serve", "--config", str(path), code=2) == f"{path}: unknown key 'prot'; did you mean 'port'?"


def test_config_from_the_environment(tmp_path: Path) -> None:
    """The file may be named by the environment, and a secret in it that is not set is an error."""
    path = tmp_path / "server.yaml"
    path.write_text("backends: [{url: 'http://x', api_key: '${UNSET_KEY}'}]\n")
    said = sentence("serve", code=2, ACTOR_REGISTRY_CONFIG=str(path))
    assert said.endswith("backends[0].api_key: the environment variable UNSET_KEY is not set")


@pytest.mark.parametrize("name", ["health_interval", "health_timeout", "cleanup_interval"])
def test_times_from_the_environment(name: str) -> None:
    """Each time that has a flag has a variable too; what is wrong with it is told by its setting."""
    said = sentence("serve", code=2, **{f"ACTOR_REGISTRY_{name.upper()}": "inf"})
    assert said.startswith(f"{name}_s: ")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--port", "many"], "Invalid value for '--port'"),
        (["--gateways", "1.5"], "Invalid value for '--gateways'"),
        (["--log-format", "xml"], "Invalid value for '--log-format'"),
        (["--health-interval", "often"], "Invalid value for '--health-interval'"),
        (["--no-such-flag"], "No such option: --no-such-flag"),
        (["surplus"], "unexpected extra argument"),
    ],
)
def test_bad_flag(arguments: list[str], said: str) -> None:
    """A flag that is unknown or of a wrong type is named."""
    assert said in sentence("serve", *arguments, code=2)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--port", "70000"], "port: "),
        (["--port", "-1"], "port: "),
        (["--gateways", "0"], "gateways: "),
        (["--host", ""], "host: "),
        (["--health-interval", "0"], "health_interval_s: "),
        (["--health-timeout", "nan"], "health_timeout_s: "),
        (["--cleanup-interval", "-1"], "cleanup_interval_s: "),
        (["--ephemeral", "--data-dir", "/tmp/x"], "data_dir and ephemeral exclude each other"),
        (["--backend", "localhost:8000"], "backends[0].url: must begin with http:// or https://"),
        (["--backend", "http://"], "backends[0].url: has no host"),
        (["--backend", "http://x", "--backend", "http://x/"], "two backends have the id 'x'"),
    ],
)
def test_bad_value(arguments: list[str], said: str) -> None:
    """A value out of its limits is named by its setting."""
    assert sentence("serve", *arguments, code=2).startswith(said)


def test_url_with_credentials() -> None:
    """A URL that holds a password is refused with the way to give a key, and is not shown."""
    said = sentence("serve", "--backend", f"http://user:{SECRET}@host", code=2)
    assert "give an api_key instead" in said


def test_data_dir_in_use(tmp_path: Path) -> None:
    """A directory that another server has is refused with the name and the process id of that server."""
    arguments = ("serve", "--port", "0", "--gateways", "1", "--data-dir", str(tmp_path))
    with program("-m", "registry", *arguments) as first:
        serving(first)
        said = sentence(*arguments, code=1)
        assert said == f"the data directory {tmp_path} is in use by actor-registry (pid {first.process.pid})"
        first.kill(signal.SIGTERM)
        assert first.ends() == 0


def test_data_dir_that_cannot_be_made(tmp_path: Path) -> None:
    """A file in the way of the directory is named."""
    (tmp_path / "file").touch()
    said = sentence("serve", "--port", "0", "--data-dir", str(tmp_path / "file"), code=1)
    assert "cannot be used" in said


def test_damaged_journal(tmp_path: Path) -> None:
    """A journal that cannot be read stops the start with its name."""
    (tmp_path / "registry.db").write_bytes(b"this is no database\n" * 100)
    said = refused("serve", "--port", "0", "--data-dir", str(tmp_path), code=1)
    assert said.splitlines()[-1].startswith("actor-registry: the journal ")
    assert "file is not a database" in said


def test_key_file_that_is_missing(tmp_path: Path) -> None:
    """A key file is read before anything starts."""
    path = tmp_path / "server.yaml"
    path.write_text("port: 0\nephemeral: true\nbackends: [{url: 'http://x', api_key_file: /no/such/key}]\n")
    assert sentence("serve", "--config", str(path), code=2) == "/no/such/key cannot be read: No such file or directory"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_signal_ends_the_server(number: signal.Signals) -> None:
    """SIGTERM and Ctrl-C end the server with exit code 0, and nothing is left running."""
    with program("-m", "registry", "serve", "--port", "0", "--gateways", "1", "--ephemeral") as run:
        serving(run)
        run.kill(number)
        assert run.ends() == 0
        run.leaves_nothing_running()
        assert "Traceback" not in run.stderr


def test_signal_during_the_start() -> None:
    """A server that is told to stop before it serves stops."""
    with program("-m", "registry", "serve", "--port", "0", "--ephemeral") as run:
        until(lambda: "owner is ready" in run.stderr, "the start has begun", 20)
        run.kill(signal.SIGTERM)
        run.ends()
        run.leaves_nothing_running()
        assert "Traceback" not in run.stderr


def test_state_survives_a_restart(tmp_path: Path) -> None:
    """The revision of a data directory goes on in the next server; a backend that is not named any more is gone."""
    arguments = ("serve", "--port", "0", "--gateways", "1", "--data-dir", str(tmp_path))
    seen = []
    for backend in ("http://127.0.0.1:9", "http://127.0.0.1:9", "http://127.0.0.1:7"):
        with program("-m", "registry", *arguments, "--backend", backend) as run:
            with urllib.request.urlopen(f"{serving(run)}/backends", timeout=10) as response:  # noqa: S310 - http
                body = json.load(response)
            seen.append(([one["url"] for one in body["backends"]], body["revision"]))
            run.kill(signal.SIGTERM)
            assert run.ends() == 0
    (first, one), (second, two), (third, three) = seen
    assert (first, second, third) == (["http://127.0.0.1:9"], ["http://127.0.0.1:9"], ["http://127.0.0.1:7"])
    assert one <= two < three


def test_json_log() -> None:
    """With `--log-format json` every line of the log is one JSON object that names its process."""
    arguments = ("serve", "--port", "0", "--gateways", "1", "--ephemeral", "--backend", "http://127.0.0.1:9")
    with program("-m", "registry", *arguments, "--log-format", "json") as run:
        serving(run)
        until(lambda: "is unhealthy" in run.stderr, "what was found is told")
        run.kill(signal.SIGTERM)
        assert run.ends() == 0
        events = [json.loads(line) for line in run.stderr.splitlines()]
    (told,) = (event["event"] for event in events if event["process"] == "owner")
    assert told == "backend 127.0.0.1:9 (http://127.0.0.1:9) is unhealthy: connection refused"
    assert all({"event", "level", "timestamp"} <= event.keys() for event in events)


def test_changes_need_the_admin_key(tmp_path: Path) -> None:
    """A server with an admin key lets only those change something who send it, and shows it nowhere."""
    key, config = tmp_path / "key", tmp_path / "server.yaml"
    key.write_text(f"{SECRET}\n")
    config.write_text(f"admin_key_file: {key}\n")
    arguments = ("--port", "0", "--gateways", "1", "--ephemeral", "--config", str(config))
    with program("-m", "registry", "serve", *arguments) as run:
        url = f"{serving(run)}/backends"
        for authorization, status in (("Bearer wrong", 401), (f"Bearer {SECRET}", 201)):
            headers = {"authorization": authorization}
            answer = httpx2.post(url, json={"url": "http://127.0.0.1:9"}, headers=headers, trust_env=False)
            assert answer.status_code == status
        assert httpx2.get(url, trust_env=False).json()["backends"][0]["id"] == "127.0.0.1:9"
        run.kill(signal.SIGTERM)
        assert run.ends() == 0
        assert SECRET not in run.stderr


@pytest.mark.parametrize(("setting", "status"), [("", 401), ("open_services: true\n", 201)])
def test_services_and_the_admin_key(tmp_path: Path, setting: str, status: int) -> None:
    """Services need the key too, unless the settings say otherwise; all else needs it in any case."""
    key, config = tmp_path / "key", tmp_path / "server.yaml"
    key.write_text(f"{SECRET}\n")
    config.write_text(f"admin_key_file: {key}\n{setting}")
    service = {"name": "s", "host": "h", "port": 1, "hostname": "h", "url": "http://127.0.0.1:9", "status": "running"}
    with program("-m", "registry", "serve", "--port=0", "--gateways=1", "--ephemeral", f"--config={config}") as run:
        url = serving(run)
        assert httpx2.post(f"{url}/services", json=service, trust_env=False).status_code == status
        assert httpx2.get(f"{url}/services", trust_env=False).json()["total"] == (status == 201)
        assert httpx2.post(f"{url}/backends", json={"url": "http://127.0.0.1:9"}, trust_env=False).status_code == 401


def test_admin_key_that_is_missing(tmp_path: Path) -> None:
    """No server starts open because its key is not there."""
    path = tmp_path / "server.yaml"
    path.write_text("port: 0\nephemeral: true\nadmin_key_env: NO_SUCH_KEY\n")
    said = sentence("serve", "--config", str(path), code=2)
    assert said == "admin_key_env: the environment variable NO_SUCH_KEY is not set"


def test_json_log_of_a_recovery(tmp_path: Path) -> None:
    """What is kept and lost of a damaged journal, and whatever else the owner logs, is told like all else."""
    (tmp_path / "registry.db").write_bytes(b"garbage" * 1_000)
    arguments = ("serve", "--port", "0", "--gateways", "1", "--data-dir", str(tmp_path), "--recover")
    with program("-m", "registry", *arguments, "--log-format", "json") as run:
        serving(run)
        run.kill(signal.SIGTERM)
        assert run.ends() == 0
        events = [json.loads(line) for line in run.stderr.splitlines()]
    assert all({"event", "level", "timestamp", "process"} <= event.keys() for event in events)
    told = [event["event"] for event in events if event["process"] == "owner" and event["level"] == "warning"]
    assert told[0].endswith("What is readable of it is kept")
    assert "nothing could be read: the registry begins anew" in told
    times = [event["timestamp"] for event in events]
    assert all(re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d+Z", time) for time in times)
    assert not [file for file in tmp_path.iterdir() if file.name.endswith("-shm")]


def test_json_log_of_a_fault_in_the_owner() -> None:
    """A traceback is a field of its line."""
    error = ZeroDivisionError("it's zero")
    record = logging.makeLogRecord(
        {"msg": "failed on %s", "args": ("x",), "levelname": "ERROR", "exc_info": (type(error), error, None)}
    )
    line = json.loads(JsonLines().format(record))
    assert (line["event"], line["level"], line["process"]) == ("failed on x", "error", "owner")
    assert line["exception"].endswith("ZeroDivisionError: it's zero")


def test_name_in_the_log_of_the_owner_stays_on_its_line() -> None:
    """Whoever may choose a name cannot write lines of the log with it."""
    line = TextLines().format(logging.makeLogRecord({"msg": "service %s", "args": ("ж\n1",), "levelname": "INFO"}))
    assert re.search(r"\] service ж\\n1 +process=owner$", line)


def test_text_log_of_the_owner(tmp_path: Path) -> None:
    """Its lines look like those of all the other processes, and say whose they are."""
    (tmp_path / "registry.db").write_bytes(b"garbage" * 1_000)
    arguments = ("serve", "--port", "0", "--gateways", "1", "--data-dir", str(tmp_path), "--recover")
    with program("-m", "registry", *arguments) as run:
        serving(run)
        run.kill(signal.SIGTERM)
        assert run.ends() == 0
        lines = run.stderr.splitlines()
    form = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d+Z \[(info|warning|error) *\] .+ process=[a-z0-9-]+")
    assert [line for line in lines if not form.fullmatch(line)] == []
    assert any("begins anew" in line and line.endswith(" process=owner") for line in lines)


@pytest.mark.parametrize(("version", "shown"), [((3, 10, 13), "3.10"), ((3, 9, 0), "3.9")])
def test_old_python(monkeypatch: pytest.MonkeyPatch, version: tuple[int, int, int], shown: str) -> None:
    """An old Python is told what it lacks. Only its number is made up here: the real ones are not installed."""
    monkeypatch.setattr(sys, "version_info", version)
    with pytest.raises(SystemExit) as end:
        main()
    assert end.value.code == f"actor-registry: needs Python 3.11 or newer, this is Python {shown}"


def test_entry_module_can_be_read_by_an_old_python() -> None:
    """The module that says so has nothing in it that only a new Python understands."""
    import ast

    import registry.cli.__main__ as entry

    source = Path(str(entry.__file__)).read_text(encoding="ascii")
    tree = ast.parse(source, feature_version=(3, 7))
    new = (ast.AsyncFunctionDef, ast.JoinedStr, ast.AnnAssign, ast.NamedExpr, ast.Match)
    assert not [node for node in ast.walk(tree) if isinstance(node, new)]
    at_import = {alias.name for node in tree.body if isinstance(node, ast.Import) for alias in node.names}
    assert at_import == {"sys"}
