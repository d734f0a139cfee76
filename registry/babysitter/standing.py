"""How it stands with the AI server, as the registry is told, and whoever asks at the babysitter's own port."""

from __future__ import annotations

from enum import StrEnum
from typing import Any


class Phase(StrEnum):
    """What the server does; the word is the status of its entry too, and only `running` is given requests."""

    STARTING = "starting"
    """It was started for the first time and is not ready yet."""
    RUNNING = "running"
    """It answers."""
    UNRESPONSIVE = "unresponsive"
    """Its process is there, but did not answer when it was last asked."""
    RESTARTING = "restarting"
    """It has ended, and is started again."""
    STOPPING = "stopping"
    """It is told to end for good."""


class Standing:
    """How it stands now.

    Attributes:
        phase: What the server does.
        alive: Whether its process is there.
        was_ready: Whether it was ready at least once.
        restarts: How often it was started again.
        models: Its models as it last listed them; None if it never has.
        ready_since: When its present life was ready first, as an ISO 8601 timestamp.
    """

    def __init__(self) -> None:
        self.phase = Phase.STARTING
        self.alive = False
        self.was_ready = False
        self.restarts = 0
        self.models: tuple[dict[str, Any], ...] | None = None
        self.ready_since = ""

    @property
    def healthy(self) -> bool:
        """Whether the server is there and answers."""
        return self.alive and self.phase is Phase.RUNNING
