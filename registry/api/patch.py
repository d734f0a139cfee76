"""A change of a backend as a JSON merge patch (RFC 7396)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

from registry.models import BackendView, Concurrency, Name, Priority, Text, Weight
from registry.state.records import MAX_LABELS, MAX_METADATA


class BackendPatch(BaseModel):
    """What changes of a backend; what is not given stays. No field may be null, unless it says so.

    Attributes:
        name: For people.
        labels: Each key alone: its new value, or null to remove it.
        priority: Lower is preferred, where a policy looks at it.
        weight: How many requests it is given for each one of a backend of weight 1.
        max_concurrency: Most requests in flight on it; null for no limit.
        metadata: Each key alone: its new value, or null to remove it.
    """

    model_config = ConfigDict(extra="forbid", strict=True)

    # The defaults stand for nothing: what was given is in `model_fields_set`.
    name: Name = Field(default_factory=str)
    labels: Annotated[dict[Name, Text | None], Field(max_length=2 * MAX_LABELS)] = Field(default_factory=dict)
    priority: Priority = Field(default_factory=int)
    weight: Weight = Field(default_factory=int)
    max_concurrency: Concurrency | None = None
    metadata: Annotated[dict[Name, Text | None], Field(max_length=2 * MAX_METADATA)] = Field(default_factory=dict)

    @property
    def needs_present(self) -> bool:
        """Whether the outcome depends on what is there."""
        return bool(self.labels or self.metadata)

    def changes(self, present: BackendView | None) -> dict[str, Any]:
        """The arguments of `update_backend` that make the change.

        Args:
            present: The backend as it is; None if nothing depends on it.
        """
        given: dict[str, Any] = {name: getattr(self, name) for name in self.model_fields_set}
        for name in ("labels", "metadata"):
            if given.pop(name, None):
                assert present is not None  # noqa: S101 -- see `needs_present`
                given[name] = merged(getattr(present, name), getattr(self, name))
        return given


def merged(present: Mapping[str, str], patch: Mapping[str, str | None]) -> dict[str, str]:
    """Apply a merge patch to a flat object.

    >>> merged({"zone": "eu", "tier": "1"}, {"zone": None, "gpu": "h100"})
    {'tier': '1', 'gpu': 'h100'}
    """
    return {key: value for key, value in {**present, **patch}.items() if value is not None}
