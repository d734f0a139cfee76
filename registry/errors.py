"""Everything the registry can refuse.

```text
RegistryError (an actors.CommandError: the owner said no, and nothing was changed)
├── DuplicateBackend         a backend of this id is there already
├── BackendNotFound          there is none of this id
├── RevisionMismatch         a backend was changed since the caller saw it
├── InvalidField             a field is out of its limits
├── ModelNotFound            no backend has this model
├── NoBackendAvailable       some have it, but none of them can be given a request now
├── ServiceNotFound          there is no service of this name
├── QueueFull                too many requests wait for this model
└── LeaseNotFound            given back before, expired, or never this session's

ConfigError                  the configuration or a flag is wrong (not an answer of the owner)
```

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
    "QueueFull",
    "RegistryError",
    "RevisionMismatch",
    "ServiceNotFound",
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


class RevisionMismatch(RegistryError):
    """A backend was changed since the caller saw it, or is not there; read it anew and decide again.

    Args:
        id: The backend.
        expected: The revision that the caller saw.
        found: The one it has; None if there is no such backend.
    """

    def __init__(self, id: str, expected: int, found: int | None) -> None:
        found_text = "it does not exist" if found is None else f"it has revision {found}"
        super().__init__(
            f"backend {id} was expected at revision {expected}, but {found_text}",
            id=id,
            expected=expected,
            found=found,
        )
        self.id = id
        self.expected = expected
        self.found = found


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
        busy: Whether there are healthy ones, and all of them have as many requests as they may have.
    """

    def __init__(self, model: str, retry_after_s: float, busy: bool = False) -> None:
        why = "all healthy backends for model '{}' are busy" if busy else "no healthy backend for model '{}'"
        super().__init__(f"{why.format(model)} at the moment", model=model, retry_after_s=retry_after_s, busy=busy)
        self.model = model
        self.retry_after_s = retry_after_s
        self.busy = busy


class QueueFull(RegistryError):
    """All backends of a model are busy, and as many requests as may wait for one do so already.

    Args:
        model: The model asked for.
        waiting: How many wait.
    """

    def __init__(self, model: str, waiting: int) -> None:
        super().__init__(
            f"{waiting:,} requests wait for model '{model}', which is the limit", model=model, waiting=waiting
        )
        self.model = model
        self.waiting = waiting


class LeaseNotFound(RegistryError):
    """There is no such lease, or not of this session: given back before, expired, taken back, or another's."""

    def __init__(self, lease: int) -> None:
        super().__init__(f"lease not found: {lease}", lease=lease)
        self.lease = lease


class ServiceNotFound(RegistryError):
    """There is no service of this name: never registered, removed, or silent for too long."""

    def __init__(self, name: str) -> None:
        super().__init__(f"Service '{name}' not found", name=name)
        self.name = name


class ConfigError(Exception):
    """The configuration, a flag or the environment is wrong; the text says what and where."""
