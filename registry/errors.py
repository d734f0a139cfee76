"""Everything the registry can refuse.

RegistryError (an actors.CommandError: the owner said no, and nothing was changed)
├── DuplicateBackend         a backend of this id is there already
├── BackendNotFound          there is none of this id
├── InvalidField             a field is out of its limits
├── ModelNotFound            no backend has this model
├── NoBackendAvailable       some have it, but none of them can be given a request now
└── LeaseNotFound            given back before, expired, or never this session's

ConfigError                  the configuration or a flag is wrong (not an answer of the owner)

The runtime's own errors (no answer in time, a history that is gone, a disk that is full, ...) are drawn in
`actors.errors`; those that a user of the registry meets can be imported from here and from `registry` too.
"""

from __future__ import annotations

from actors.errors import (
    AlreadyRunning,
    AttachFailed,
    CallTimeout,
    CommandError,
    CommandInvalid,
    Compacted,
    MissingMainGuard,
    OutcomeUnknown,
    Overloaded,
    StartedElsewhere,
    StartFailed,
    StorageUnavailable,
    SystemStopped,
)

__all__ = [
    "AlreadyRunning",
    "AttachFailed",
    "BackendNotFound",
    "CallTimeout",
    "CommandInvalid",
    "Compacted",
    "ConfigError",
    "DuplicateBackend",
    "InvalidField",
    "LeaseNotFound",
    "MissingMainGuard",
    "ModelNotFound",
    "NoBackendAvailable",
    "OutcomeUnknown",
    "Overloaded",
    "RegistryError",
    "StartFailed",
    "StartedElsewhere",
    "StorageUnavailable",
    "SystemStopped",
]


class RegistryError(CommandError):
    """Base of the registry's refusals."""


class DuplicateBackend(RegistryError):
    """A backend of this id is there already; it was left as it is."""

    def __init__(self, id: str) -> None:
        super().__init__(f"backend already exists: {id}", id=id)
        self.id = id


class BackendNotFound(RegistryError):
    """There is no backend of this id."""

    def __init__(self, id: str) -> None:
        super().__init__(f"backend not found: {id}", id=id)
        self.id = id


class InvalidField(RegistryError):
    """A field is out of its limits.

    Args:
        field: The field.
        reason: What is wrong with it, and what would be right.
    """

    def __init__(self, field: str, reason: str) -> None:
        super().__init__(f"{field}: {reason}", field=field, reason=reason)
        self.field = field
        self.reason = reason


class ModelNotFound(RegistryError):
    """No backend, healthy or not, has this model.

    Args:
        model: The model asked for.
        available: Some models that healthy backends have, sorted.
    """

    def __init__(self, model: str, available: list[str]) -> None:
        known = f"Available: {', '.join(available)}" if available else "No models available"
        super().__init__(f"Model '{model}' not found. {known}", model=model, available=available)
        self.model = model
        self.available = available


class NoBackendAvailable(RegistryError):
    """The model is known, but no backend that has it can be given a request now.

    Args:
        model: The model asked for.
        retry_after_s: When it is worth asking again, in seconds.
    """

    def __init__(self, model: str, retry_after_s: float) -> None:
        super().__init__(
            f"no healthy backend for model '{model}' at the moment", model=model, retry_after_s=retry_after_s
        )
        self.model = model
        self.retry_after_s = retry_after_s


class LeaseNotFound(RegistryError):
    """This session holds no such lease: it was given back before, has expired, or is another's."""

    def __init__(self, lease: int) -> None:
        super().__init__(f"no such lease of this session: {lease}", lease=lease)
        self.lease = lease


class ConfigError(Exception):
    """The configuration, a flag or the environment is wrong; the text says what and where."""
