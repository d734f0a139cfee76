"""What a babysitter is told, and what it makes of it."""

from __future__ import annotations

import socket
from pathlib import Path
from typing import Any

import pytest

from registry.babysitter.settings import Settings, load_settings
from registry.errors import ConfigError

WRONG_PORT = "must be from 1 to 65534: the babysitter itself listens at the next one"
NEEDED: dict[str, Any] = {"name": "tiny", "port": 6000, "command": ["serve"]}


def told(**more: Any) -> Settings:
    """Settings with what must be said, and more."""
    return load_settings(None, {**NEEDED, **more}, {})


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        *(({"port": port}, f"port: {WRONG_PORT}") for port in (-1, 0, 65_535, 65_536, 2**70)),
        ({"port": None}, "--port is missing: at which port is the AI server to listen?"),
        ({"name": ""}, "--name is missing: by which name is the service to be registered?"),
        ({"name": None}, "--name is missing: by which name is the service to be registered?"),
        ({"name": "a\nb"}, "name: must be printable, without spaces around it"),
        ({"name": "x" * 1001}, "name: String should have at most 1000 characters"),
        ({"command": []}, "COMMAND is missing: say after `--` what is to be run, or name a file by --config-file"),
        ({"host": "a b"}, "host: 'a b' is no host name and no address"),
        ({"host": "gpu/1"}, "host: 'gpu/1' is no host name and no address"),
        ({"listen": "::x"}, "listen: '::x' is no host name and no address"),
        ({"registry": "ftp://x"}, "registry: must begin with http:// or https://"),
        (
            {"registry": "http://me:pw@x"},
            "registry: must not hold a user name or password; an admin key is given by the environment",
        ),
        ({"heartbeat_interval": 0}, "heartbeat_interval: Input should be greater than or equal to 0.01"),
        ({"restart_delay": float("inf")}, "restart_delay: Input should be a finite number"),
        ({"max_restarts": -1}, "max_restarts: Input should be greater than or equal to 0"),
        ({"work_dir": "/no/such/place"}, "work_dir: there is no directory /no/such/place"),
        ({"work_dir": "x" * 300}, f"work_dir: there is no directory {'x' * 300}"),
        ({"heartbeat_intervall": 1}, "unknown key 'heartbeat_intervall'; did you mean 'heartbeat_interval'?"),
    ],
)
def test_wrong_settings(wrong: dict[str, Any], said: str) -> None:
    """Each is told apart in a sentence."""
    with pytest.raises(ConfigError) as caught:
        told(**wrong)
    assert str(caught.value) == said


@pytest.mark.parametrize(
    ("host", "registry", "address", "listens_on", "asked_at"),
    [
        ("127.0.0.1", "http://gpu-0:8081", "127.0.0.1", "127.0.0.1", ("127.0.0.1",)),
        ("localhost", "http://gpu-0:8081", "localhost", "127.0.0.1", ("127.0.0.1",)),
        ("::1", "http://gpu-0:8081", "::1", "::1", ("127.0.0.1", "::1")),
        ("10.0.0.7", "http://gpu-0:8081", "10.0.0.7", "10.0.0.7", ("127.0.0.1", "10.0.0.7")),
        ("GPU-7", "http://gpu-0:8081", "gpu-7", "0.0.0.0", ("127.0.0.1", "gpu-7")),
        ("127.1", "http://gpu-0:8081", "127.0.0.1", "127.0.0.1", ("127.0.0.1",)),
        ("0", "http://127.1:8081", "127.0.0.1", "0.0.0.0", ("127.0.0.1",)),
        ("0.0.0.0", "http://localhost:8081", "127.0.0.1", "0.0.0.0", ("127.0.0.1",)),
        ("0.0.0.0", "http://gpu-0:8081", socket.gethostname(), "0.0.0.0", ("127.0.0.1",)),
        ("[::]", "http://[::1]:8081", "127.0.0.1", "::", ("127.0.0.1",)),
    ],
)
def test_hosts(host: str, registry: str, address: str, listens_on: str, asked_at: tuple[str, ...]) -> None:
    """What is registered can be called; the babysitter listens as far as that reaches, and no farther."""
    settings = told(host=host, registry=registry)
    assert (settings.address, settings.listens_on, settings.asked_at) == (address, listens_on, asked_at)
    assert told(host=host, registry=registry, listen="127.0.0.2").listens_on == "127.0.0.2"


@pytest.mark.parametrize(
    ("host", "registry", "out_of_reach"),
    [
        ("127.0.0.1", "http://gpu-0:8081", True),
        ("localhost", "http://10.0.0.1:8081", True),
        ("127.0.0.1", "http://localhost:8081", False),
        ("gpu-7", "http://gpu-0:8081", False),
        ("0.0.0.0", "http://gpu-0:8081", False),
    ],
)
def test_host_that_means_the_registry_itself_to_it(host: str, registry: str, out_of_reach: bool) -> None:
    """It is noticed that a registry on another machine is told a loopback address."""
    assert told(host=host, registry=registry).is_out_of_reach is out_of_reach


def test_addresses_in_the_registry() -> None:
    """An IPv6 address stands in brackets."""
    assert told(host="::1").url(6001) == "http://[::1]:6001"


def test_command_and_environment() -> None:
    """The port replaces its placeholder; the environment is inherited but for secrets, and the server's own counts."""
    settings = told(command=["serve", "--at=127.0.0.1:{port}", "{host}"], env={"A": "2"})
    assert settings.argv() == ["serve", "--at=127.0.0.1:6000", "{host}"]
    inherited = {"A": "1", "B": "1", "PORT": "1", "KEY": "secret"}
    assert settings.environment(inherited, frozenset({"KEY"})) == {"A": "2", "B": "1", "PORT": "6000"}
    assert told(env={"PORT": "7"}).environment({}, frozenset())["PORT"] == "7"


def test_what_goes_over_what(tmp_path: Path) -> None:
    """Flags go over the file, the file over what is usual here, and that over the defaults."""
    file = tmp_path / "one.toml"
    file.write_text(
        'name = "of-the-file"\nport = 7000\nregistry_url = "http://file:1"\n'
        '[babysitter]\nrestart_delay = 2\n[backend]\ntype = "command"\ncommand = "serve"\n'
    )
    settings = load_settings(file, {"name": "of-the-flag", "max_restarts": None}, {"registry": "http://usual:1"})
    assert (settings.name, settings.port, settings.registry) == ("of-the-flag", 7000, "http://file:1")
    assert (settings.restart_delay_s, settings.max_restarts, settings.host) == (2.0, 10, "localhost")
    assert load_settings(None, NEEDED, {"registry": "http://usual:1"}).registry == "http://usual:1"
