"""Which web pages may write, and under which names the server may be read.

A browser lets any web page send requests to a server on the user's own machine or network. So a request that
changes or costs something must come from a program, from our own pages, or from a page that was named. The
answers to a foreign page's reads are withheld by the browser itself, unless the page's own name was made to lead
to this machine (DNS rebinding): then the browser sees no foreign page, but the name is none of ours.
"""

from __future__ import annotations

import functools
import ipaddress
from urllib.parse import urlsplit

import msgspec

from registry.gateway.http1.messages import Request

SAFE_METHODS = frozenset({b"GET", b"HEAD", b"OPTIONS"})
DEFAULT_PORTS = {"http": ":80", "https": ":443"}


class OriginPolicy(msgspec.Struct, frozen=True, kw_only=True):
    """Who may write.

    Attributes:
        loopback: The server listens where only this machine reaches it.
        allowed_hosts: Host names, in lower case and without port, by which the server may be called.
        allowed_origins: Foreign pages that may write, as browsers send them: `https://chat.example`.
    """

    loopback: bool
    allowed_hosts: frozenset[str] = frozenset()
    allowed_origins: frozenset[str] = frozenset()


def refuse_page(policy: OriginPolicy, request: Request, *, guards_reads: bool) -> str | None:
    """Why a request of a web page is refused, if it is; see `refuse_write` and `refuse_read`.

    Args:
        policy: Who may write.
        request: The request.
        guards_reads: Whether the answer to a read is nothing for a web page of another name.
    """
    if request.method not in SAFE_METHODS:
        return refuse_write(
            policy,
            host=request.header(b"host"),
            origin=request.header(b"origin"),
            fetch_site=request.header(b"sec-fetch-site"),
        )
    return refuse_read(policy, request.header(b"host")) if guards_reads else None


def refuse_write(
    policy: OriginPolicy, *, host: bytes | None, origin: bytes | None, fetch_site: bytes | None
) -> str | None:
    """Decide whether a write is refused.

    Args:
        policy: Who may write.
        host: The request's `Host`.
        origin: The request's `Origin`; browsers send it with every write, programs do not.
        fetch_site: The request's `Sec-Fetch-Site`.

    Returns:
        Why it is refused, in one sentence, or None if it is not.

    Example:
        >>> policy = OriginPolicy(loopback=True)
        >>> refuse_write(policy, host=b"localhost:8081", origin=None, fetch_site=None)
        >>> refuse_write(policy, host=b"localhost:8081", origin=b"https://evil.example", fetch_site=None)
        'A web page of https://evil.example may not write here. To allow it, add it to allowed_origins.'
    """
    if origin is None:
        return _refuse_without_origin(policy, _host_name(host), fetch_site)
    page = origin.decode("latin-1").lower()
    if page == "null":
        return "A web page that hides where it is from may not write here."
    if page in policy.allowed_origins:
        return None
    if fetch_site == b"cross-site" or not _is_own(page, host):
        return f"A web page of {page} may not write here. To allow it, add it to allowed_origins."
    return _refuse_name(policy, _host_name(host))


def refuse_read(policy: OriginPolicy, host: bytes | None) -> str | None:
    """Decide whether a read is refused: on a loopback address, one that calls the server by a name that is not its own.

    Elsewhere the names by which programs call the server cannot be known.

    Args:
        policy: Who may read.
        host: The request's `Host`; browsers send it with every request, an old program may not.

    Returns:
        Why it is refused, in one sentence, or None if it is not.

    Example:
        >>> refuse_read(OriginPolicy(loopback=True), b"127.0.0.1:8081")
        >>> refuse_read(OriginPolicy(loopback=True), b"evil.example:8081")
        'evil.example is not a name of this server. To allow it, add it to allowed_hosts.'
    """
    return _refuse_name(policy, _host_name(host)) if policy.loopback and host is not None else None


def _refuse_name(policy: OriginPolicy, name: str | None) -> str | None:
    """No name can be made to lead here but those that are known; an address leads where it says."""
    if name in policy.allowed_hosts or name == "localhost" or _address(name) is not None:
        return None
    return _unknown_name(name)


def _refuse_without_origin(policy: OriginPolicy, name: str | None, fetch_site: bytes | None) -> str | None:
    if fetch_site == b"cross-site":
        return "A web page of another site may not write here."
    if policy.loopback and not (name in policy.allowed_hosts or _is_loopback(name)):
        # DNS rebinding: a page's own name was made to lead to this machine, so the browser sees no foreign site.
        return _unknown_name(name)
    return None


def _unknown_name(name: str | None) -> str:
    return f"{name or 'No host'} is not a name of this server. To allow it, add it to allowed_hosts."


@functools.lru_cache(maxsize=256)
def _host_name(host: bytes | None) -> str | None:
    """The name or address in a Host field, in lower case, without port and brackets; None if it is not a host."""
    try:
        parts = urlsplit("//" + (host or b"").decode("ascii"))
        # Reading the port checks it.
        well_formed = parts.port is not None or not parts.netloc.endswith(":")
    except ValueError:
        return None
    if not well_formed or parts.netloc != (host or b"").decode("ascii") or "@" in parts.netloc:
        return None
    return parts.hostname or None


def _is_own(page: str, host: bytes | None) -> bool:
    """Whether a page was loaded from the very host and port that it now writes to."""
    scheme, separator, authority = page.partition("://")
    if not separator or host is None:
        return False
    own = host.decode("latin-1").lower()
    # Browsers leave a scheme's usual port out, programs may write it.
    port = DEFAULT_PORTS.get(scheme, "")
    return authority.removesuffix(port) == own.removesuffix(port) if port else False


@functools.lru_cache(maxsize=256)
def _address(name: str | None) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(name or "")
    except ValueError:
        return None


def _is_loopback(name: str | None) -> bool:
    address = _address(name)
    return name == "localhost" or (address is not None and address.is_loopback)
