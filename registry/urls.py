"""Addresses: in one normal form, so that two spellings of one are the same; and paths of which no part is misread."""

from __future__ import annotations

import ipaddress
import re
from urllib.parse import quote, urlsplit

from registry.errors import InvalidField

DEFAULT_PORTS = {"http": 80, "https": 443}

MAX_URL_CHARS = 2048
"""So long may one be that is given,"""

MAX_NORMAL_URL_CHARS = MAX_URL_CHARS + 6
"""and so long its normal form, in which `0` is `0.0.0.0`."""

_THIS_MACHINE = re.compile(r"//(?:localhost|0\.0\.0\.0)(?=[:/]|$)")

_HOST = r"[A-Za-z0-9._-]+"
_GROUP = "[0-9A-Fa-f]{1,4}"
_IPV6 = "|".join(
    [
        f"(?:{_GROUP}:){{7}}{_GROUP}",
        f"(?:{_GROUP}:){{1,7}}:",
        *(f"(?:{_GROUP}:){{1,{7 - after}}}(?::{_GROUP}){{1,{after}}}" for after in range(1, 7)),
        f":(?::{_GROUP}){{1,7}}",
        "::",
    ]
)
_NUMBER = "(?:0[Xx][0-9A-Fa-f]+|0[0-7]*|[1-9][0-9]*)"
_NUMBERS = re.compile(rf"{_NUMBER}(?:\.{_NUMBER}){{0,3}}")
"""An IPv4 address in the forms of `inet_aton`, unless a number is too large."""
_PORT = "0*(?:6553[0-5]|655[0-2][0-9]|65[0-4][0-9]{2}|6[0-4][0-9]{3}|[1-5][0-9]{4}|[1-9][0-9]{0,3})"
_PATH = r'[!"$->@-~]*'
URL_PATTERN = rf"^[Hh][Tt][Tt][Pp][Ss]?://(?:{_HOST}|\[(?:{_IPV6})\])(?::(?:{_PORT})?)?(?:/{_PATH})?$"
"""What `normalise_url` takes, for the documents that describe it; of IPv6 only the usual spellings."""


def normalise_url(url: str) -> str:
    """The normal form of a backend's base URL.

    Scheme and host in lower case, an address in its usual spelling, no default port, no slash at the end.

    Raises:
        InvalidField: Another scheme than http or https, no host, a user name or password, a query or a fragment,
            or a character that must be encoded.

    >>> normalise_url("HTTP://GPU-1:80/v1/")
    'http://gpu-1/v1'
    >>> normalise_url("http://[::1]:8080")
    'http://[::1]:8080'
    """
    _check_characters(url)
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise InvalidField("url", str(error)) from error
    if parts.scheme not in DEFAULT_PORTS:
        raise InvalidField("url", "must begin with http:// or https://")
    if parts.username is not None or parts.password is not None:
        raise InvalidField("url", "must not hold a user name or password; give an api_key instead")
    if not parts.hostname:
        raise InvalidField("url", "has no host")
    if not (is_address(parts.hostname) if "[" in parts.netloc else re.fullmatch(_HOST, parts.hostname)):
        raise InvalidField("url", f"{parts.hostname!r} is no host name and no address")
    if port == 0:
        raise InvalidField("url", "port 0 cannot be connected to")
    host = normal_host(parts.hostname)
    host = f"[{host}]" if ":" in host else host
    authority = host if port is None or port == DEFAULT_PORTS[parts.scheme] else f"{host}:{port}"
    return f"{parts.scheme}://{authority}{parts.path.rstrip('/')}"


def _check_characters(url: str) -> None:
    if len(url) > MAX_NORMAL_URL_CHARS:  # a normal form is one of itself
        raise InvalidField("url", f"longer than {MAX_URL_CHARS} characters")
    if any(character.isspace() or not character.isprintable() for character in url):
        raise InvalidField("url", "holds spaces or control characters")
    if not url.isascii():
        raise InvalidField("url", "must be ASCII: punycode in the host, %XX in the path")
    if "?" in url or "#" in url:
        raise InvalidField("url", "must not have a query or a fragment")


def normal_host(host: str) -> str:
    """A host in lower case, or an address in its usual spelling.

    Whatever the operating system takes for an IPv4 address becomes that address, so that one server has one name.

    >>> normal_host("127.1"), normal_host("0x7F000001"), normal_host("::ffff:127.0.0.1")
    ('127.0.0.1', '127.0.0.1', '127.0.0.1')
    >>> normal_host("0:0::1"), normal_host("GPU-1"), normal_host("256.1")
    ('::1', 'gpu-1', '256.1')
    """
    if ":" not in host:
        return (_of_numbers(host) if _NUMBERS.fullmatch(host) else None) or host.lower()
    if not is_address(host):
        return host.lower()
    address = ipaddress.IPv6Address(host)
    return str(address.ipv4_mapped or address)


def is_address(host: str) -> bool:
    """Whether a host is an address and no name; of an IPv4 address only the usual spelling is known here."""
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def _of_numbers(host: str) -> str | None:
    """The IPv4 address of one to four numbers; the last fills what the others leave. None if one is too large."""
    *first, last = (_number(number) for number in host.split("."))
    rest_bits = 8 * (4 - len(first))
    if max(first, default=0) > 255 or last >= 2**rest_bits:
        return None
    return str(ipaddress.IPv4Address(int.from_bytes(bytes(first)) << rest_bits | last))


def _number(text: str) -> int:
    """As C reads it: 0x before a hexadecimal number, 0 before an octal one."""
    if text[:2].lower() == "0x":
        return int(text, 16)
    return int(text, 8 if text.startswith("0") else 10)


def http_url(host: str, port: int) -> str:
    """The base URL of a port of a host; an IPv6 address may have its brackets already.

    >>> http_url("gpu-1", 8000), http_url("::1", 8000)
    ('http://gpu-1:8000', 'http://[::1]:8000')
    """
    return f"http://[{host}]:{port}" if ":" in host and not host.startswith("[") else f"http://{host}:{port}"


def id_from_url(url: str) -> str:
    """A readable id for a backend that was given none: what stands after the scheme.

    >>> id_from_url("http://127.0.0.1:8001")
    '127.0.0.1:8001'
    """
    return normalise_url(url).partition("://")[2]


def path_of(*segments: str | int) -> str:
    """A path of which no part is taken for something else, such as an id with a slash or of dots.

    >>> path_of("backends", "gpu-1/a", "drain")
    '/backends/gpu-1%2Fa/drain'
    >>> path_of("backends", "..")
    '/backends/%2E%2E'
    """
    quoted = (quote(str(segment), safe=":") for segment in segments)
    return "/" + "/".join("%2E" * len(one) if not one.strip(".") else one for one in quoted)


def is_this_machine(url: str) -> bool:
    """Whether an address is one that only this machine can reach.

    >>> is_this_machine("http://127.0.0.1:8081"), is_this_machine("http://gpu-1:8081")
    (True, False)
    """
    host = urlsplit(url).hostname or ""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def server_key(url: str) -> str:
    """What two spellings of the address of one server have in common; raises `InvalidField` as `normalise_url` does.

    >>> server_key("http://localhost:8000/v1/")
    'http://127.0.0.1:8000'
    """
    return with_loopback(normalise_url(url)).removesuffix("/v1").rstrip("/")


def with_loopback(url: str) -> str:
    """An address in normal form, in which this machine is `127.0.0.1`, however it is called.

    >>> with_loopback("http://0.0.0.0:8000/v1")
    'http://127.0.0.1:8000/v1'
    """
    return _THIS_MACHINE.sub("//127.0.0.1", url, count=1)
