"""The server's configuration: a YAML file, checked to the last key before anything starts.

What the command line says goes over what the environment says, that over the file, and that over the defaults.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Self

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from registry.addresses import LOCAL_NETWORKS
from registry.complaints import in_words
from registry.config_values import (
    Age,
    ApiKey,
    HostName,
    Interval,
    Network,
    Seconds,
    Times,
    WebOrigin,
    key_of,
    read_text,
)
from registry.errors import ConfigError
from registry.kinds import BackendType, DiscoverySource, Durability, LogFormat
from registry.models import Backend, Concurrency, Labels, Metadata, Priority, Url, Weight
from registry.state.rules import HealthRules
from registry.urls import server_key

_VARIABLE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}")


class BackendConfig(BaseModel):
    """One backend that the operator names.

    Attributes:
        url: Its base address, without the API's `/v1`.
        id: Its id; what stands after the scheme of the URL unless given.
        name: For people; the id unless given.
        type: What software it runs.
        api_key: Sent to it as a bearer token; kept out of the journal, the log and every answer.
        api_key_file: A file that holds the key instead.
        priority: Lower is preferred, where a policy looks at it.
        weight: How many requests it is given for each one of a backend of weight 1.
        max_concurrency: Most requests in flight on it; further ones wait.
        labels: Words to choose backends by.
        metadata: Whatever else is to be known of it.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    url: Url
    id: Annotated[str, Field(max_length=512)] = ""
    name: Annotated[str, Field(max_length=512)] = ""
    type: BackendType = BackendType.GENERIC
    api_key: ApiKey | None = None
    api_key_file: Path | None = None
    priority: Priority = 0
    weight: Weight = 1
    max_concurrency: Concurrency | None = None
    labels: Labels = {}
    metadata: Metadata = {}

    @model_validator(mode="before")
    @classmethod
    def _url_alone(cls, value: Any) -> Any:
        """A backend of which only the address is to be said may be just that."""
        if isinstance(value, str):
            return {"url": value}
        if not isinstance(value, dict):
            raise ValueError("must be a URL, or settings such as `url: http://gpu-1:8000`")  # noqa: TRY004 - pydantic's way
        return value

    @model_validator(mode="after")
    def _one_key(self) -> Self:
        if self.api_key is not None and self.api_key_file is not None:
            raise ValueError("give either api_key or api_key_file, not both")
        return self

    def backend(self) -> Backend:
        """The backend to be added; nothing of it is secret."""
        return Backend(
            url=self.url,
            id=self.id,
            name=self.name,
            backend_type=self.type,
            priority=self.priority,
            weight=self.weight,
            max_concurrency=self.max_concurrency,
            labels=self.labels,
            discovery_source=DiscoverySource.STATIC,
            metadata=self.metadata,
        )

    def key(self) -> str | None:
        """The key, if it has one.

        Raises:
            ConfigError: The file that should hold it cannot be read.
        """
        if self.api_key is not None:
            return self.api_key.get_secret_value()
        if self.api_key_file is None:
            return None
        return key_of(read_text(self.api_key_file), str(self.api_key_file))


class Config(BaseModel):
    """All settings of `actor-registry serve`.

    Attributes:
        host: Address to listen on; this machine only unless told otherwise.
        port: TCP port; 0 takes a free one.
        gateways: Number of gateway processes.
        data_dir: Where durable state lives; under the XDG state directory unless given.
        ephemeral: Keep state in a temporary directory that is removed at the end.
        durability: What an answered change outlives: `process`, the end of any process, or `power`, the loss of power
            as well, for which each turn of the owner waits for the disk.
        log_format: `text` or `json`.
        backends: The backends that the operator names.
        health_interval_s: Time between two probes of one backend or service.
        health_timeout_s: Longest wait for the answer to a probe. A target is probed once at a time, so one that takes
            longer than the interval is only probed less often.
        failure_threshold: A healthy backend fails so many times in a row until it is not healthy any more.
        recovery_threshold: An unhealthy backend succeeds so many times in a row until it is healthy again.
        heartbeat_timeout_s: A service is healthy until its latest heartbeat is so old.
        stale_after_s: A service is removed when its latest heartbeat is older than this.
        cleanup_interval_s: Time between two looks for those.
        allowed_networks: Where probes and requests may go besides the backends that are named here; networks or single
            addresses. Never to a link-local address, even within one of them.
        open_services: Whether changes to services need no admin key, though there is one.
        connect_timeout_s: Longest wait for a connection to a backend.
        first_byte_timeout_s: Longest wait for the first byte of a backend's answer.
        queue_timeout_s: How long a request waits while all backends have as many as their `max_concurrency`; 0 refuses
            it at once.
        stop_timeout_s: How long streams may go on after the server was told to stop.
        max_body_bytes: Longest request body.
        admin_key_env: The environment variable that holds the key which every change over the control plane needs.
        admin_key_file: A file that holds that key instead. Without either, everybody who reaches the port may change
            things.
        allowed_hosts: Host names by which this server may be called, besides localhost and IP addresses.
        allowed_origins: Foreign web pages that may write, such as `https://chat.example`.
        forward_authorization: Pass a client's `Authorization` on to backends without an `api_key`. Any of them
            may then see it.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    host: Annotated[str, Field(min_length=1, max_length=255)] = "127.0.0.1"
    port: Annotated[int, Field(ge=0, le=65_535)] = 8081
    gateways: Annotated[int, Field(ge=1, le=64)] = 2
    data_dir: Path | None = None
    ephemeral: bool = False
    durability: Durability = Durability.PROCESS
    log_format: LogFormat = LogFormat.TEXT
    backends: Annotated[tuple[BackendConfig, ...], Field(max_length=10_000)] = ()
    health_interval_s: Interval = 30.0
    health_timeout_s: Seconds = 5.0
    failure_threshold: Times = 3
    recovery_threshold: Times = 2
    heartbeat_timeout_s: Age = 120.0
    stale_after_s: Age = 300.0
    cleanup_interval_s: Interval = 60.0
    allowed_networks: Annotated[tuple[Network, ...], Field(max_length=1_000)] = LOCAL_NETWORKS
    open_services: bool = False
    connect_timeout_s: Seconds = 5.0
    first_byte_timeout_s: Seconds = 300.0
    queue_timeout_s: Annotated[float, Field(ge=0, le=3_600, allow_inf_nan=False)] = 30.0
    stop_timeout_s: Seconds = 30.0
    max_body_bytes: Annotated[int, Field(ge=1_024, le=1_073_741_824)] = 10 * 1024 * 1024
    admin_key_env: Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$", max_length=255)] | None = None
    admin_key_file: Path | None = None
    allowed_hosts: frozenset[HostName] = frozenset()
    allowed_origins: frozenset[WebOrigin] = frozenset()
    forward_authorization: bool = False

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.ephemeral and self.data_dir is not None:
            raise ValueError("data_dir and ephemeral exclude each other")
        if self.admin_key_env is not None and self.admin_key_file is not None:
            raise ValueError("give either admin_key_env or admin_key_file, not both")
        if self.stale_after_s <= self.heartbeat_timeout_s:
            raise ValueError(
                f"stale_after_s ({self.stale_after_s:g}) must be more than heartbeat_timeout_s "
                f"({self.heartbeat_timeout_s:g}): a service is unhealthy before it is removed"
            )
        seen: set[str] = set()
        unnamed: dict[str, str] = {}
        for backend in self.backends:
            id = backend.backend().id
            if id in seen:
                raise ValueError(f"two backends have the id {id!r}")
            seen.add(id)
            if not backend.id and (other := unnamed.setdefault(server_key(backend.url), backend.url)) != backend.url:
                raise ValueError(f"{backend.url} and {other} are one server; name it once, or give each an id")
        return self

    def health_rules(self) -> HealthRules:
        """How health is judged."""
        return HealthRules(
            interval_s=self.health_interval_s,
            timeout_s=self.health_timeout_s,
            failure_threshold=self.failure_threshold,
            recovery_threshold=self.recovery_threshold,
            heartbeat_timeout_s=self.heartbeat_timeout_s,
            stale_after_s=self.stale_after_s,
            cleanup_interval_s=self.cleanup_interval_s,
        )

    def admin_key(self, environment: Mapping[str, str]) -> str | None:
        """The key that changes need, if there is one.

        Args:
            environment: Where `admin_key_env` is looked up.

        Raises:
            ConfigError: The variable is not set, or the file cannot be read: no server may start open by mistake.
        """
        if self.admin_key_file is not None:
            return key_of(read_text(self.admin_key_file), str(self.admin_key_file))
        if self.admin_key_env is None:
            return None
        if self.admin_key_env not in environment:
            raise ConfigError(f"admin_key_env: the environment variable {self.admin_key_env} is not set")
        return key_of(environment[self.admin_key_env], f"environment variable {self.admin_key_env}")


def load_config(path: Path | None, overrides: Mapping[str, Any], environment: Mapping[str, str]) -> Config:
    """Read and check the configuration.

    Args:
        path: The YAML file, or None.
        overrides: Settings that go over the file's; None values are not set. Backends are added to the file's.
        environment: Where `${NAME}` in the file is looked up.

    Raises:
        ConfigError: The file cannot be read, or a setting is wrong; says which.
    """
    settings = {} if path is None else _substitute(_read_yaml(path), "", environment, path)
    added = overrides.get("backends") or ()
    if added:
        settings = {**settings, "backends": [*(settings.get("backends") or ()), *added]}
    given = {key: value for key, value in overrides.items() if value is not None and key != "backends"}
    if "data_dir" in given and "ephemeral" not in given:
        settings.pop("ephemeral", None)
    if given.get("ephemeral") and "data_dir" not in given:
        settings.pop("data_dir", None)
    try:
        return Config.model_validate({**settings, **given})
    except ValidationError as error:
        where = "" if path is None else f"{path}: "
        raise ConfigError(where + in_words(error, Config)) from None


def _read_yaml(path: Path) -> dict[str, Any]:
    try:
        content = yaml.safe_load(read_text(path))
    except yaml.YAMLError as error:
        # Not the error's own text: it quotes the line, and that may hold a secret.
        mark = getattr(error, "problem_mark", None)
        where = f" in line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        problem = getattr(error, "problem", None) or "it cannot be read"
        raise ConfigError(f"{path} is not valid YAML: {problem}{where}") from None
    if content is None:
        return {}
    if not isinstance(content, dict):
        raise ConfigError(f"{path} must hold settings, one `key: value` a line")
    return content


def _substitute(value: Any, where: str, environment: Mapping[str, str], path: Path) -> Any:
    """Replace `${NAME}` in every string; an unset variable is an error, so that no secret is silently empty."""
    if isinstance(value, dict):
        return {key: _substitute(item, f"{where}.{key}".lstrip("."), environment, path) for key, item in value.items()}
    if isinstance(value, list):
        return [_substitute(item, f"{where}[{index}]", environment, path) for index, item in enumerate(value)]
    if not isinstance(value, str):
        return value

    def lookup(match: re.Match[str]) -> str:
        name = match[1]
        if name not in environment:
            raise ConfigError(f"{path}: {where}: the environment variable {name} is not set")
        return environment[name]

    return _VARIABLE.sub(lookup, value)
