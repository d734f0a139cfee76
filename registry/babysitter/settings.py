"""All that a babysitter is told, checked before anything starts."""

from __future__ import annotations

import ipaddress
import re
import socket
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Self
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator

from registry.babysitter.original_file import read_original_file
from registry.complaints import in_words
from registry.errors import ConfigError, InvalidField
from registry.urls import http_url, is_address, normal_host, normalise_url

DEFAULT_REGISTRY = "http://127.0.0.1:8081"

SERVER_SUFFIX = "-server"
"""What the entry of the AI server itself is called after its babysitter's name."""

PORT_PLACEHOLDER = "{port}"
"""Stands in a command for the server's port."""

MAX_PORT = 65_534
"""The highest port that has a next one."""

_LOOPBACK = "127.0.0.1"


def _base_url(url: str) -> str:
    if "@" in url:
        raise ValueError("must not hold a user name or password; an admin key is given by the environment")
    try:
        return normalise_url(url)
    except InvalidField as error:
        raise ValueError(error.reason) from None


def _host(host: str) -> str:
    bare = normal_host(host.removeprefix("[").removesuffix("]"))
    if not (is_address(bare) or re.fullmatch(r"[A-Za-z0-9._-]+", bare)):
        raise ValueError(f"{host!r} is no host name and no address")
    return bare


def _name(name: str) -> str:
    if not name.isprintable() or name != name.strip():
        raise ValueError("must be printable, without spaces around it")
    return name


def _port(port: int) -> int:
    if not 1 <= port <= MAX_PORT:
        raise ValueError(f"must be from 1 to {MAX_PORT}: the babysitter itself listens at the next one")
    return port


Name = Annotated[str, Field(min_length=1, max_length=1000), AfterValidator(_name)]
Host = Annotated[str, Field(min_length=1, max_length=255), AfterValidator(_host)]
Seconds = Annotated[float, Field(ge=0.01, le=86_400, allow_inf_nan=False)]


class Settings(BaseModel):
    """All that a babysitter is told.

    Attributes:
        name: The name of its entry; that of the server's has `-server` after it.
        port: Where the AI server is to listen; the babysitter itself listens on the next.
        command: The program and its arguments.
        host: The name or address of this machine in the registry.
        listen: Address at which the babysitter itself listens; see `listens_on`.
        registry: Base address of the registry.
        heartbeat_interval_s: Time between two heartbeats.
        max_restarts: How many restarts in a row are tried.
        restart_delay_s: Wait before the first of them; it doubles from then on.
        start_timeout_s: How long the server may take to be ready.
        check_interval_s: Time between two looks at a server that is ready.
        hang_timeout_s: A server that does not answer for so long is restarted.
        service_type: What kind of server it is, in the babysitter's entry.
        work_dir: Where the command runs; None for where the babysitter does.
        env: Variables of the command's environment.
        metadata: Goes over the metadata of the server's entry.
        config_file: Where some of this was read from.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: Name
    port: Annotated[int, AfterValidator(_port)]
    command: Annotated[tuple[str, ...], Field(min_length=1)]
    host: Host = _LOOPBACK
    listen: Host | None = None
    registry: Annotated[str, AfterValidator(_base_url)] = DEFAULT_REGISTRY
    heartbeat_interval_s: Annotated[Seconds, Field(alias="heartbeat_interval")] = 30.0
    max_restarts: Annotated[int, Field(ge=0, le=1_000_000)] = 10
    restart_delay_s: Annotated[Seconds, Field(alias="restart_delay")] = 1.0
    start_timeout_s: Annotated[Seconds, Field(alias="start_timeout")] = 600.0
    check_interval_s: Annotated[Seconds, Field(alias="check_interval")] = 5.0
    hang_timeout_s: Annotated[Seconds, Field(alias="hang_timeout")] = 60.0
    service_type: str = "command"
    work_dir: Path | None = None
    env: dict[str, str] = {}
    metadata: dict[str, Any] = {}
    config_file: Path | None = None

    @model_validator(mode="after")
    def _possible(self) -> Self:
        if self.work_dir is not None and not _is_directory(self.work_dir):
            raise ValueError(f"work_dir: there is no directory {self.work_dir}")
        return self

    @property
    def server_name(self) -> str:
        """The name of the AI server's entry."""
        return self.name + SERVER_SUFFIX

    @property
    def own_port(self) -> int:
        """Where the babysitter itself listens."""
        return self.port + 1

    @property
    def address(self) -> str:
        """The host that stands in the registry.

        `0.0.0.0` is none that could be called: it stands for this machine as the registry sees it, which is the
        loopback address if the registry is here too, and the host's name otherwise.
        """
        if not _is_any(self.host):
            return self.host
        return _LOOPBACK if _is_loopback(urlsplit(self.registry).hostname or "") else socket.gethostname()

    @property
    def is_out_of_reach(self) -> bool:
        """Whether the registry is on another machine and would be told an address that means itself to it."""
        return _is_loopback(self.address) and not _is_loopback(urlsplit(self.registry).hostname or "")

    @property
    def listens_on(self) -> str:
        """Where the babysitter itself listens: as far as its entry can be reached, and no farther.

        A loopback host is for this machine alone, an address for that address; a name can be any address of this
        machine.
        """
        if self.listen is not None:
            return self.listen
        if _is_loopback(self.host):
            return self.host if self.host != "localhost" else _LOOPBACK
        return self.host if is_address(self.host) else "0.0.0.0"  # noqa: S104 - said by naming a host for others

    @property
    def asked_at(self) -> tuple[str, ...]:
        """Where the AI server may be found from here; its host may be one that is only known outside."""
        return (_LOOPBACK,) if _is_any(self.host) or self.host in {"localhost", _LOOPBACK} else (_LOOPBACK, self.host)

    def url(self, port: int) -> str:
        """The address of a port in the registry."""
        return http_url(self.address, port)

    def argv(self) -> list[str]:
        """The command with the port in its place."""
        return [word.replace(PORT_PLACEHOLDER, str(self.port)) for word in self.command]

    def environment(self, inherited: Mapping[str, str], secrets: frozenset[str]) -> dict[str, str]:
        """The command's whole environment.

        Args:
            inherited: The babysitter's own.
            secrets: Names of variables that are none of the server's business.
        """
        kept = {name: value for name, value in inherited.items() if name not in secrets}
        return {**kept, "PORT": str(self.port), **self.env}


def load_settings(file: Path | None, flags: Mapping[str, Any], usual: Mapping[str, Any]) -> Settings:
    """Put together what the command line says, over what a file says, over what is usual here.

    Args:
        file: A file of the original babysitter's form, or None.
        flags: Settings by their names without unit, such as `heartbeat_interval`; None values are not set.
        usual: Settings that go under the file's.

    Raises:
        ConfigError: The file cannot be read, or a setting is wrong; says which.
    """
    given = {name: value for name, value in flags.items() if value is not None}
    said = {} if file is None else read_original_file(file, given)
    merged = {**usual, **said, **given}
    for needed in ("name", "port", "command"):
        if merged.get(needed) in (None, "", [], ()):
            raise ConfigError(f"{'COMMAND' if needed == 'command' else f'--{needed}'} is missing: {_NEEDED[needed]}")
    try:
        return Settings.model_validate(merged)
    except ValidationError as error:
        raise ConfigError(in_words(error, Settings)) from None


_NEEDED = {
    "name": "by which name is the service to be registered?",
    "port": "at which port is the AI server to listen?",
    "command": "say after `--` what is to be run, or name a file by --config-file",
}


def _is_directory(path: Path) -> bool:
    try:
        return path.is_dir()
    except OSError:  # its name is too long, or what is above it cannot be entered
        return False


def _is_any(host: str) -> bool:
    return is_address(host) and ipaddress.ip_address(host).is_unspecified


def _is_loopback(host: str) -> bool:
    return host == "localhost" or (is_address(host) and ipaddress.ip_address(host).is_loopback)
