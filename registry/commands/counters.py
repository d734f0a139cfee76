"""Commands about what is counted."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta

from registry.commands.base import Command
from registry.state.records import Milliseconds, Name


class IncrementPending(Command, frozen=True, tag=True):
    """Result: the new number of pending requests."""

    id: Name


class DecrementPending(Command, frozen=True, tag=True):
    """Result: the new number of pending requests."""

    id: Name


class IncrementTotalRequests(Command, frozen=True, tag=True):
    """Result: the new total."""

    id: Name


class UpdateLatency(Command, frozen=True, tag=True):
    """Result: the new average in milliseconds."""

    id: Name
    latency_ms: Milliseconds


class CountHttpError(Command, frozen=True, tag=True):
    """Result: None."""

    code: Annotated[int, Meta(ge=400, le=599)]


class GetMetrics(Command, frozen=True, tag=True):
    """Result: `registry.metrics.Metrics`."""
