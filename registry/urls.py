"""The address of a backend in one normal form, so that two spellings of it are one backend."""

from __future__ import annotations

from urllib.parse import urlsplit

from registry.errors import InvalidField

_DEFAULT_PORTS = {"http": 80, "https": 443}

MAX_URL_CHARS = 2048


def normalise_url(url: str) -> str:
    """The normal form of a backend's base URL.

    Scheme and host in lower case, no default port, no slash at the end.

    Raises:
        InvalidField: Another scheme than http or https, no host, a user name or password, a query or a fragment.

    >>> normalise_url("HTTP://GPU-1:80/v1/")
    'http://gpu-1/v1'
    >>> normalise_url("http://[::1]:8080")
    'http://[::1]:8080'
    """
    if len(url) > MAX_URL_CHARS:
        raise InvalidField("url", f"longer than {MAX_URL_CHARS} characters")
    if any(character.isspace() or not character.isprintable() for character in url):
        raise InvalidField("url", "holds spaces or control characters")
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise InvalidField("url", str(error)) from error
    if parts.scheme not in _DEFAULT_PORTS:
        raise InvalidField("url", "must begin with http:// or https://")
    if parts.username is not None or parts.password is not None:
        raise InvalidField("url", "must not hold a user name or password; give an api_key instead")
    if not parts.hostname:
        raise InvalidField("url", "has no host")
    if parts.query or parts.fragment:
        raise InvalidField("url", "must not have a query or a fragment")
    if port == 0:
        raise InvalidField("url", "port 0 cannot be connected to")
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    authority = host if port is None or port == _DEFAULT_PORTS[parts.scheme] else f"{host}:{port}"
    return f"{parts.scheme}://{authority}{parts.path.rstrip('/')}"


def id_from_url(url: str) -> str:
    """A readable id for a backend that was given none: what stands after the scheme.

    >>> id_from_url("http://127.0.0.1:8001")
    '127.0.0.1:8001'
    """
    return normalise_url(url).partition("://")[2]
