"""What services tell whoever looks after health."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from actors.actor import Context


class Watcher(Protocol):
    """Decides what is probed and when; told who comes and goes."""

    def service_registered(self, name: str, context: Context) -> None:
        """A service was registered, for the first time or anew."""

    def service_removed(self, name: str, context: Context) -> None:
        """A service was removed, by somebody or because it was silent for too long."""

    def backend_added(self, id: str, context: Context) -> None:
        """A backend was added."""

    def forget_backend(self, id: str) -> None:
        """A backend was removed."""


class NoWatcher:
    """Nobody looks after health."""

    def service_registered(self, name: str, context: Context) -> None:
        """Nothing is probed."""

    def service_removed(self, name: str, context: Context) -> None:
        """Nothing was probed."""

    def backend_added(self, id: str, context: Context) -> None:
        """Nothing is probed."""

    def forget_backend(self, id: str) -> None:
        """Nothing was probed."""
