"""The original babysitter's TOML files: what they mean, and what is said of wrong ones."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from registry.babysitter.settings import Settings, load_settings
from registry.errors import ConfigError

HEAD = 'name = "one"\nport = 8100\n'
SECRET = "sk-do-not-show"


def read(folder: Path, text: str, **flags: Any) -> Settings:
    """What a file says."""
    file = folder / "one.toml"
    file.write_text(text)
    return load_settings(file, flags, {})


def test_whole_file(tmp_path: Path) -> None:
    """Every key of the original is understood."""
    settings = read(
        tmp_path,
        f"""
        name = "vllm-service-1"
        host = "0.0.0.0"
        port = 8100
        registry_url = "http://localhost:18000"
        router_url = "http://localhost:8000"
        [babysitter]
        max_restarts = 10000
        restart_delay = 5
        heartbeat_interval = 30
        [backend]
        type = "command"
        command = "python3 -m server"
        args = ["--model", "/models/a b", "--port", "8100"]
        work_dir = "{tmp_path}"
        env = {{ CUDA_VISIBLE_DEVICES = "0" }}
        [metadata]
        cache_type = "static"
        static = true
        since = 2026-02-10
        """,
    )
    assert settings.command == ("python3", "-m", "server", "--model", "/models/a b", "--port", "8100")
    assert (settings.name, settings.port, settings.registry) == ("vllm-service-1", 8100, "http://localhost:18000")
    assert (settings.max_restarts, settings.restart_delay_s, settings.heartbeat_interval_s) == (10_000, 5.0, 30.0)
    assert (settings.work_dir, settings.env) == (tmp_path, {"CUDA_VISIBLE_DEVICES": "0"})
    assert settings.metadata == {"cache_type": "static", "static": True, "since": "2026-02-10"}
    assert (settings.service_type, settings.address) == ("command", "127.0.0.1")
    assert settings.config_file == tmp_path / "one.toml"


@pytest.mark.parametrize(
    ("backend", "command", "service_type"),
    [
        (
            'type = "vllm"\nmodel = "/models/m"\nargs = ["-tp", "4"]',
            "python3 -m vllm.entrypoints.openai.api_server --model /models/m --port 9000 --host localhost -tp 4",
            "vLLM",
        ),
        (
            'type = "infinilm-rust"\nconfig_file = "/etc/one.toml"',
            "xtask service /etc/one.toml -p 9000",
            "InfiniLM-Rust",
        ),
        (
            'type = "infinilm"\nmodel_path = "/models/m"\nargs = ["--ndev", "4"]',
            "python3 launch_server.py --port 9000 --host localhost",
            "InfiniLM",
        ),
        ('type = "command"\ncommand = "serve \'a b\' --port {port}"', "serve|a b|--port|{port}", "command"),
    ],
)
def test_commands(tmp_path: Path, backend: str, command: str, service_type: str) -> None:
    """Each type of backend becomes the original's command, with the port that counts in the end."""
    settings = read(tmp_path, f"{HEAD}[backend]\n{backend}\n", port=9000)
    assert list(settings.command) == command.split("|" if "|" in command else None)
    assert settings.service_type == service_type


def test_mock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A mock is the original project's own script, where it is found."""
    file = f'{HEAD}registry_url = "http://r:1"\n[backend]\ntype = "mock"\nmodels = ["a", "b"]\n'
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError, match=r"mock runs the original project's mock_service\.py, which is not here"):
        read(tmp_path, file)
    (tmp_path / "mock_service.py").touch()
    assert " ".join(read(tmp_path, file).command) == (
        "python3 mock_service.py --name one --port 8100 --models a,b --registry-url http://r:1"
    )


def test_name_that_is_not_said(tmp_path: Path) -> None:
    """It is made of the type and the port."""
    settings = read(tmp_path, 'port = 8100\n[backend]\ntype = "vllm"\nmodel = "m"\n')
    assert settings.name == "vllm-8100"


def test_command_in_place_of_the_backend(tmp_path: Path) -> None:
    """A file without `[backend]` is enough with a command on the command line."""
    assert read(tmp_path, HEAD, command=["serve"]).command == ("serve",)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (HEAD, "backend: is missing, and no COMMAND is given either"),
        ("name = ", "is not valid TOML: Invalid value (at end of document)"),
        (f"{HEAD}nmae = 1\n", "unknown key 'nmae'; did you mean 'name'?"),
        (
            f"{HEAD}[babysitter]\nmax_restart = 1\n",
            "unknown key 'babysitter.max_restart'; did you mean 'max_restarts'?",
        ),
        ('name = "one"\nport = true\n', "port: Input should be a valid integer"),
        (f"{HEAD}[babysitter]\nrestart_delay = true\n", "babysitter.restart_delay: Input should be a valid number"),
        (
            f'{HEAD}[babysitter]\nrestart_delay = "{SECRET}"\n',
            "babysitter.restart_delay: Input should be a valid number",
        ),
        (f'{HEAD}[backend]\ntype = "{SECRET}"\n', "backend.type: must be one of command, vllm, mock, infinilm-rust"),
        (f"{HEAD}[backend]\ntype = 1\n", "backend.type: must be one of"),
        (f'{HEAD}[backend]\ntype = "vllm"\n', "backend.model: Field required"),
        (
            f'{HEAD}[backend]\ntype = "command"\ncommand = "a"\nenvs = 1',
            "unknown key 'backend.envs'; did you mean 'env'?",
        ),
        (f'{HEAD}[backend]\ntype = "command"\ncommand = "a \'b"', "backend.command: No closing quotation"),
        (
            f'{HEAD}[backend]\ntype = "command"\ncommand = "a"\nenv = {{"A=" = "{SECRET}"}}',
            "backend.env: 'A=' cannot be",
        ),
        (f'{HEAD}[backend]\ntype = "mock"\nmodels = []\n', "backend.models: List should have at least 1 item"),
        (f"{HEAD}[metadata]\nx = nan\n", "metadata: a number must be finite"),
        (f"{HEAD}[metadata]\nx = {2**64}\n", "metadata: a number must fit 64 bits"),
        ('name = "one"\n[backend]\ntype = "command"\ncommand = "a"\n', "port: is missing"),
        ("a = " + "[" * 5000, ""),
    ],
)
def test_wrong_files(tmp_path: Path, text: str, said: str) -> None:
    """The file and the key are named, and no value is shown: it may be a secret."""
    with pytest.raises(ConfigError) as caught:
        read(tmp_path, text)
    words = str(caught.value)
    assert words.startswith(str(tmp_path / "one.toml"))
    assert said in words
    assert SECRET not in words
    assert "\n" not in words


def test_number_out_of_its_limits(tmp_path: Path) -> None:
    """The limits are those of the flags."""
    with pytest.raises(ConfigError, match=r"^heartbeat_interval: Input should be less than or equal to 86400"):
        read(tmp_path, f'{HEAD}[babysitter]\nheartbeat_interval = 1e9\n[backend]\ntype = "command"\ncommand = "a"\n')


def test_file_that_cannot_be_read(tmp_path: Path) -> None:
    """It is named with the reason."""
    with pytest.raises(ConfigError, match=r"none\.toml cannot be read: No such file or directory"):
        load_settings(tmp_path / "none.toml", {}, {})
