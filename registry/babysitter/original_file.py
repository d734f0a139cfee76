"""The original babysitter's TOML files, and the commands that they stand for."""

from __future__ import annotations

import datetime as dt
import json
import math
import shlex
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from registry.complaints import in_words
from registry.config_values import read_text
from registry.errors import ConfigError

MAX_METADATA_BYTES = 256 * 1024

MOCK_SCRIPT = "mock_service.py"
_MOCK_PLACES = ("rust/tests/integration", "tests/integration", ".")


def _variables(env: dict[str, str]) -> dict[str, str]:
    for name, value in env.items():
        if not name or "=" in name or "\0" in name + value:
            raise ValueError(f"{name!r} cannot be a variable of the environment with this value")
    return env


def _plain(value: Any, depth: int = 0) -> Any:
    """A TOML value as JSON has it."""
    if depth > 32:
        raise ValueError("is nested too deeply")
    if isinstance(value, dict):
        return {key: _plain(item, depth + 1) for key, item in value.items()}
    if isinstance(value, list):
        return [_plain(item, depth + 1) for item in value]
    if isinstance(value, dt.datetime | dt.date | dt.time):
        return value.isoformat()
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError("a number must be finite")
    if isinstance(value, int) and not -(2**63) <= value < 2**63:
        raise ValueError("a number must fit 64 bits")
    return value


def _metadata(value: dict[str, Any]) -> dict[str, Any]:
    plain: dict[str, Any] = _plain(value)
    if len(json.dumps(plain)) > MAX_METADATA_BYTES:
        raise ValueError(f"must not be longer than {MAX_METADATA_BYTES:,} bytes as JSON")
    return plain


Words = list[str]
M = TypeVar("M", bound=BaseModel)
Variables = Annotated[dict[str, str], AfterValidator(_variables)]


class _Table(BaseModel):
    # Otherwise `true` would be the number 1.
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class _Babysitter(_Table):
    max_restarts: int | None = None
    restart_delay: float | None = None
    heartbeat_interval: float | None = None
    start_timeout: float | None = None
    check_interval: float | None = None
    hang_timeout: float | None = None


class _Command(_Table):
    type: Literal["command"]
    command: Annotated[str, Field(min_length=1)]
    args: Words = []
    work_dir: str | None = None
    env: Variables = {}


class _Vllm(_Table):
    type: Literal["vllm"]
    model: Annotated[str, Field(min_length=1)]
    args: Words = []
    work_dir: str | None = None
    env: Variables = {}


class _Mock(_Table):
    type: Literal["mock"]
    models: Annotated[Words, Field(min_length=1)]


class _InfiniLMRust(_Table):
    type: Literal["infinilm-rust"]
    config_file: Annotated[str, Field(min_length=1)]
    work_dir: str | None = None


class _InfiniLM(_Table):
    type: Literal["infinilm"]
    model_path: Annotated[str, Field(min_length=1)]
    args: Words = []
    work_dir: str | None = None
    env: Variables = {}


_Backend = _Command | _Vllm | _Mock | _InfiniLMRust | _InfiniLM

_BACKENDS: dict[str, tuple[type[_Backend], str]] = {
    "command": (_Command, "command"),
    "vllm": (_Vllm, "vLLM"),
    "mock": (_Mock, "mock"),
    "infinilm-rust": (_InfiniLMRust, "InfiniLM-Rust"),
    "infinilm": (_InfiniLM, "InfiniLM"),
}
"""The table `[backend]` of each type, and what the original calls a service of this type."""


class _File(_Table):
    name: str | None = None
    host: str = "localhost"
    port: int | None = None
    registry_url: str | None = None
    router_url: str | None = None
    babysitter: _Babysitter = _Babysitter()
    backend: dict[str, Any] | None = None
    metadata: Annotated[dict[str, Any], AfterValidator(_metadata)] = {}


def read_original_file(path: Path, flags: Mapping[str, Any]) -> dict[str, Any]:
    """The settings that a file of the original babysitter's form says.

    Args:
        path: The file.
        flags: What goes over it: a command built from the file names the port and host that count in the end.

    Raises:
        ConfigError: It cannot be read, is no TOML, or a key is unknown or wrong.
    """
    try:
        content = tomllib.loads(read_text(path))
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{path} is not valid TOML: {error}") from None
    except RecursionError:
        raise ConfigError(f"{path} is nested too deeply") from None
    file = _checked(_File, content, path, "")
    said: dict[str, Any] = {
        "host": file.host,
        "port": file.port,
        "name": file.name,
        "registry": file.registry_url,
        "metadata": file.metadata,
        "config_file": path,
        **file.babysitter.model_dump(),
    }
    if file.backend is not None:
        said.update(_backend(file.backend, path, {**said, **flags}))
    elif "command" not in flags:
        raise ConfigError(f"{path}: backend: is missing, and no COMMAND is given either")
    return {name: value for name, value in said.items() if value is not None}


def _backend(table: dict[str, Any], path: Path, merged: Mapping[str, Any]) -> dict[str, Any]:
    """What `[backend]` says: the command, its place and its environment."""
    type = table.get("type")
    if not isinstance(type, str) or type not in _BACKENDS:
        raise ConfigError(f"{path}: backend.type: must be one of {', '.join(_BACKENDS)}")
    model, service_type = _BACKENDS[type]
    backend = _checked(model, table, path, "backend.")
    port = merged.get("port")
    if port is None:
        raise ConfigError(f"{path}: port: is missing")
    merged = {**merged, "name": merged.get("name") or f"{service_type.lower()}-{port}"}
    return {
        "command": _command(backend, path, merged),
        "service_type": service_type,
        "work_dir": getattr(backend, "work_dir", None),
        "env": getattr(backend, "env", None),
        "name": merged["name"],
    }


def _command(backend: _Backend, path: Path, merged: Mapping[str, Any]) -> list[str]:
    """The command as the original builds it, but that an argument stays one argument whatever it holds."""
    port, host = str(merged["port"]), str(merged["host"])
    match backend:
        case _Command():
            try:
                return [*shlex.split(backend.command), *backend.args]
            except ValueError as error:
                raise ConfigError(f"{path}: backend.command: {error}") from None
        case _Vllm():
            program = ["python3", "-m", "vllm.entrypoints.openai.api_server", "--model", backend.model]
            return [*program, "--port", port, "--host", host, *backend.args]
        case _InfiniLMRust():
            return ["xtask", "service", backend.config_file, "-p", port]
        case _InfiniLM():
            return ["python3", "launch_server.py", "--port", port, "--host", host]
        case _Mock():
            script = next((file for place in _MOCK_PLACES if (file := Path(place) / MOCK_SCRIPT).is_file()), None)
            if script is None:
                raise ConfigError(
                    f"{path}: backend.type: mock runs the original project's {MOCK_SCRIPT}, which is not here; run "
                    "this in that project's directory, or name a program by type = 'command'"
                )
            named = [
                "python3",
                str(script),
                "--name",
                str(merged["name"]),
                "--port",
                port,
                "--models",
                ",".join(backend.models),
            ]
            registry = merged.get("registry")
            return [*named, *(["--registry-url", str(registry)] if registry else [])]


def _checked(model: type[M], content: Mapping[str, Any], path: Path, where: str) -> M:
    try:
        return model.model_validate(content)
    except ValidationError as error:
        raise ConfigError(f"{path}: {in_words(error, model, where)}") from None
