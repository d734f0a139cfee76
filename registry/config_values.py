"""The values that settings may have, and what is said of others."""

from __future__ import annotations

import re
from ipaddress import IPv4Network, IPv6Network, ip_network
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, Field, SecretStr, StringConstraints

from registry.errors import ConfigError
from registry.texts import is_one_ascii_line

Seconds = Annotated[float, Field(gt=0, le=86_400, allow_inf_nan=False)]

Interval = Annotated[float, Field(ge=0.1, le=86_400, allow_inf_nan=False)]
"""Time between two rounds of something, in seconds; not so short that nothing else would be done."""

Age = Annotated[float, Field(ge=0.1, le=31_536_000, allow_inf_nan=False)]
"""How old something may become, in seconds; a year at most."""

Times = Annotated[int, Field(ge=1, le=100)]
"""How often in a row."""

_LINK_LOCAL = (ip_network("169.254.0.0/16"), ip_network("fe80::/10"))


def _printable(key: SecretStr) -> SecretStr:
    value = key.get_secret_value()
    if not value or not is_one_ascii_line(value):
        raise ValueError("must be one line of ASCII characters, and not empty")
    return key


ApiKey = Annotated[SecretStr, AfterValidator(_printable)]


def key_of(text: str, where: str) -> str:
    """The key that a text holds, without the end of its line; raises `ConfigError`, which names the place."""
    try:
        return _printable(SecretStr(text.strip())).get_secret_value()
    except ValueError as error:
        raise ConfigError(f"{where}: the key {error}") from None


def _host_name(name: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9_.-]{1,253}", name):
        raise ValueError("must be host names without scheme and port, such as gpu-box.example")
    return name.lower()


HostName = Annotated[str, AfterValidator(_host_name)]


def _web_origin(origin: str) -> str:
    if not re.fullmatch(r"https?://[^/\s@]+", origin):
        raise ValueError("must be origins of web pages, such as https://chat.example")
    return origin.lower()


WebOrigin = Annotated[str, AfterValidator(_web_origin)]


def _network(text: Any) -> str:
    """A network in its usual spelling.

    A number would be an address too, and nobody means that.
    """
    if not isinstance(text, str):
        raise ValueError("must be networks such as 10.0.0.0/8, or addresses")  # noqa: TRY004 - pydantic's way
    try:
        network = ip_network(text)
    except ValueError as error:
        raise ValueError(f"must be networks such as 10.0.0.0/8, or addresses: {error}") from None
    if any(_is_within(network, local) for local in _LINK_LOCAL):
        raise ValueError(
            f"{network} is link-local and is never connected to, because cloud machines give out their secrets there"
        )
    return str(network)


def _is_within(network: IPv4Network | IPv6Network, other: IPv4Network | IPv6Network) -> bool:
    if isinstance(network, IPv4Network):
        return isinstance(other, IPv4Network) and network.subnet_of(other)
    return isinstance(other, IPv6Network) and network.subnet_of(other)


Network = Annotated[str, StringConstraints(max_length=64), BeforeValidator(_network)]

MAX_FILE_BYTES = 16 * 1024 * 1024
"""Longest file with settings: 10,000 backends fit into it."""


def read_text(path: Path) -> str:
    """The text of a file; raises `ConfigError` with a sentence that says why not."""
    try:
        with path.open("rb") as file:
            content = file.read(MAX_FILE_BYTES + 1)
        if len(content) > MAX_FILE_BYTES:
            raise ConfigError(f"{path} is longer than {MAX_FILE_BYTES:,} bytes: is it the right file?")
        return content.decode()
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise ConfigError(f"{path} cannot be read: it is not UTF-8 text") from None
