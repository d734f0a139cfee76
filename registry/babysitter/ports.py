"""Ports of this machine."""

from __future__ import annotations

import errno
import socket

from registry.babysitter.errors import CannotListen

BACKLOG = 128


def is_taken(port: int) -> bool:
    """Whether somebody listens at a port, on whatever address of this machine."""
    return any(
        _is_taken(family, address, port)
        for family, address in ((socket.AF_INET, "0.0.0.0"), (socket.AF_INET6, "::"))  # noqa: S104 - nobody is listened to
    )


def _is_taken(family: socket.AddressFamily, address: str, port: int) -> bool:
    try:
        with socket.socket(family, socket.SOCK_STREAM) as trying:
            trying.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family is socket.AF_INET6:
                trying.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            trying.bind((address, port))
    except OSError as error:
        return error.errno == errno.EADDRINUSE  # a machine without IPv6 says something else
    return False


def listen(host: str, port: int) -> socket.socket:
    """Listen at the babysitter's own port.

    Raises:
        CannotListen: It is taken, or the address is none of this machine.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=BACKLOG)
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            reason = "is in use by another program, and the babysitter itself listens there; choose another --port"
        else:
            reason = f"cannot be listened at on {host} ({error.strerror or error}); name another address by --listen"
        raise CannotListen(port, reason) from None
