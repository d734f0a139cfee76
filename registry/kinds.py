"""The words that a field may hold, as they stand in JSON."""

from __future__ import annotations

from enum import StrEnum


class BackendType(StrEnum):
    """What software a backend runs."""

    OLLAMA = "ollama"
    VLLM = "vllm"
    LLAMACPP = "llamacpp"
    EXO = "exo"
    OPENAI = "openai"
    LMSTUDIO = "lmstudio"
    SGLANG = "sglang"
    ANTHROPIC = "anthropic"
    GOOGLE = "google"
    GENERIC = "generic"


class BackendStatus(StrEnum):
    """Whether a backend may be given requests; only a healthy one is."""

    HEALTHY = "healthy"
    UNHEALTHY = "unhealthy"
    UNKNOWN = "unknown"
    """Not asked yet."""
    DRAINING = "draining"
    """Finishes what it has and gets nothing new."""
    WARMING = "warming"
    """It is there, and loads its model."""
    RATE_LIMITED = "rate_limited"
    """It answers that it is asked too often (429)."""
    MISCONFIGURED = "misconfigured"
    """It does not let us in (401, 403): the key is missing or wrong."""


class ServiceHealth(StrEnum):
    """What probes have found of a service."""

    HEALTHY = "healthy"
    UNHEALTHY = "unhealthy"
    UNKNOWN = "unknown"
    """Not probed since it was registered."""


class Target(StrEnum):
    """What a probe is of."""

    BACKEND = "backend"
    SERVICE = "service"


class BackendRole(StrEnum):
    """Which part of a request a backend does."""

    REGULAR = "regular"
    """All of it."""
    PREFILL = "prefill"
    """Reads the prompt, for another one that writes the answer."""
    DECODE = "decode"
    """Writes the answer to a prompt that another one has read."""


class Connection(StrEnum):
    """How a backend is spoken to."""

    HTTP = "http"
    GRPC = "grpc"


class DiscoverySource(StrEnum):
    """How a backend became known."""

    STATIC = "static"
    """From a flag or the configuration."""
    MDNS = "mdns"
    MANUAL = "manual"
    """Added by somebody at run time."""
    SERVICE = "service"
    """A registered service says that it is one."""


class Durability(StrEnum):
    """What an answered change outlives."""

    PROCESS = "process"
    """The end of any process, however it comes. After a loss of power the latest changes may be missing."""
    POWER = "power"
    """The loss of power as well: every turn of the owner waits for the disk."""


class Outcome(StrEnum):
    """How a request ended, as its lease is given back."""

    OK = "ok"
    CLIENT_ERROR = "client_error"
    """The backend answered 4xx: the request was wrong."""
    SERVER_ERROR = "server_error"
    """The backend answered 5xx."""
    UNREACHABLE = "unreachable"
    """No connection to the backend."""
    TIMEOUT = "timeout"
    """Connected, but no first byte in time."""
    BROKEN = "broken"
    """The backend ended its answer before it was whole."""
    CANCELLED = "cancelled"
    """The client left."""


class LogFormat(StrEnum):
    """How a line of the log looks."""

    TEXT = "text"
    JSON = "json"
