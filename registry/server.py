"""A whole server: owner, gateways, health checker and discovery under one supervisor, which is this process."""

from __future__ import annotations

import errno
import ipaddress
import logging
import os
import socket
from collections.abc import Callable

import msgspec

from actors.errors import StartFailed
from actors.processes.children import ChildSpec, OwnerSpec
from actors.processes.signals import watch_signals
from actors.supervisor import Supervisor
from registry.addresses import AddressSettings
from registry.config import Config
from registry.directory import StateDirectory, default_directory
from registry.discovery.start import DiscoveryStart
from registry.gateway.http1.limits import ServerLimits, UpstreamLimits
from registry.gateway.settings import GatewaySettings, GatewayStart
from registry.gateway.trail import new_pseudonym
from registry.health.start import HealthStart
from registry.logs import LogSettings, configure
from registry.server_file import NAME
from registry.urls import http_url

logger = logging.getLogger(__name__)

BACKLOG = 1024
"""Connections that may wait to be accepted."""

KILL_MARGIN_S = 2.0
"""How much longer than its streams a gateway may take to end."""


def serve(config: Config, *, recover: bool = False) -> None:
    """Run the server until it is told to stop.

    Args:
        config: All settings.
        recover: Whether a damaged journal is replaced by what is readable of it.

    Raises:
        ConfigError: A key cannot be read from its file.
        SupervisorError: The port or the data directory is in use, or a process cannot start or keeps crashing.
    """
    configure(LogSettings(config.log_format), "supervisor")
    api_keys = {backend.url: key for backend in config.backends if (key := backend.key()) is not None}
    admin_key = config.admin_key(os.environ)
    path = None if config.ephemeral else config.data_dir or default_directory()
    with _listen(config.host, config.port) as listening:
        directory = StateDirectory(path, f"actor-registry (pid {os.getpid()})")
        try:
            options = directory.owner_options(
                config.durability, recover=recover, log_format=config.log_format, rules=config.health_rules()
            )
            owner = OwnerSpec("registry.owner:build", options, (directory.lock_fd,))
            supervisor = Supervisor(owner, attach=str(directory.socket))
            for spec in _workers(config, api_keys, admin_key, listening):
                supervisor.add(spec)
            logger.info("state is kept in %s%s", directory.path, "" if path else " until the end")
            if not config.backends:
                logger.info("no backend is named: use --backend URL or --config FILE, or register some at /services")
            if admin_key is None and not _is_loopback(listening):
                logger.warning(
                    "whoever reaches %s may register and change things; admin_key_file in the configuration, or "
                    "admin_key_env, makes a key necessary",
                    address_of(listening),
                )
            watch_signals(supervisor, config.stop_timeout_s + KILL_MARGIN_S)
            supervisor.on_ready = _announce_once(supervisor, listening, directory)
            supervisor.on_stopping = listening.close  # a connection that nobody will accept must be refused, not kept
            supervisor.start()
            supervisor.run()
        finally:
            directory.close()


def _workers(
    config: Config, api_keys: dict[str, str], admin_key: str | None, listening: socket.socket
) -> list[ChildSpec]:
    encode = msgspec.msgpack.encode
    logs = LogSettings(config.log_format)
    discovery = DiscoveryStart([backend.backend().model_dump_json() for backend in config.backends], logs)
    addresses = AddressSettings(list(config.allowed_networks), [backend.url for backend in config.backends])
    pseudonym = new_pseudonym()
    health = HealthStart(api_keys, addresses, config.health_timeout_s, pseudonym, logs)
    loopback = _is_loopback(listening)
    gateways = [
        GatewaySettings(
            name=f"gateway-{number}",
            pseudonym=pseudonym,
            loopback=loopback,
            api_keys=api_keys,
            forward_authorization=config.forward_authorization,
            admin_key=admin_key,
            open_services=config.open_services,
            addresses=addresses,
            allowed_hosts=config.allowed_hosts,
            allowed_origins=config.allowed_origins,
            queue_timeout_s=config.queue_timeout_s,
            server=ServerLimits(max_body_bytes=config.max_body_bytes),
            upstream=UpstreamLimits(
                connect_timeout_s=config.connect_timeout_s,
                first_byte_timeout_s=config.first_byte_timeout_s,
                stalled_timeout_s=config.first_byte_timeout_s,
            ),
        )
        for number in range(1, config.gateways + 1)
    ]
    return [
        ChildSpec("discovery", "registry.discovery.process:run", encode(discovery)),
        ChildSpec("health", "registry.health.process:run", encode(health)),
        *(
            ChildSpec(
                settings.name,
                "registry.gateway.process:run",
                encode(GatewayStart(settings, logs, config.stop_timeout_s)),
                (listening.fileno(),),
            )
            for settings in gateways
        ),
    ]


def _is_loopback(listening: socket.socket) -> bool:
    """Whether it can be reached from this machine only."""
    return ipaddress.ip_address(listening.getsockname()[0].partition("%")[0]).is_loopback


def _listen(host: str, port: int) -> socket.socket:
    """The one listening socket that all gateways share, so that a dead one's connections go to the others."""
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    except (OSError, UnicodeError) as error:
        raise StartFailed(f"cannot listen on {host!r}: {error}") from None
    listening = socket.socket(family, socket.SOCK_STREAM)
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind(address)
        listening.listen(BACKLOG)
    except OSError as error:
        listening.close()
        if error.errno == errno.EADDRINUSE:
            raise StartFailed(f"port {port} of {host} is in use by another program; choose one with --port") from None
        raise StartFailed(f"cannot listen on {host} port {port}: {error.strerror}") from None
    listening.setblocking(False)
    return listening


def address_of(listening: socket.socket) -> str:
    """The URL under which a listening socket is reached."""
    host, port = listening.getsockname()[:2]
    return http_url(host, port)


def local_url(host: str, port: int) -> str:
    """The URL under which a program on this machine reaches who listens on an address, which may be that of all.

    >>> local_url("0.0.0.0", 8081), local_url("::", 8081), local_url("192.0.2.7", 8081)
    ('http://127.0.0.1:8081', 'http://[::1]:8081', 'http://192.0.2.7:8081')
    """
    return http_url({"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host), port)  # noqa: S104 - it is not listened on


def _announce_once(supervisor: Supervisor, listening: socket.socket, directory: StateDirectory) -> Callable[[], None]:
    def announce() -> None:
        supervisor.on_ready = lambda: None
        try:
            directory.announce(local_url(*listening.getsockname()[:2]))
        except OSError as error:
            logger.warning(
                "the command line will need --server: %s cannot be written: %s", directory.path / NAME, error.strerror
            )
        logger.info("serving on %s", address_of(listening))

    return announce
