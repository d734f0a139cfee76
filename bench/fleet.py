"""A fleet of made-up backends, with which a registry is filled."""

from __future__ import annotations

from dataclasses import dataclass

from registry import Backend, BackendStatus, Model, Registry

MODELS_EACH = 10
"""Models of each backend."""

TOGETHER = 500
"""Backends that are added in one batch."""


@dataclass(frozen=True, slots=True)
class Fleet:
    """So many backends, ten models each, spread evenly.

    Attributes:
        backends: Number of backends.
        models: Number of distinct models, at least ten; a divisor of ten times the backends.

    >>> fleet = Fleet(backends=1_000, models=1_000)
    >>> len(fleet.serving(0)), fleet.model_of(0) in {model.id for model in fleet.backend(0).models}
    (10, True)
    """

    backends: int
    models: int

    def id_of(self, number: int) -> str:
        """The id of a backend."""
        return f"gpu-{number}:8000"

    def ids(self) -> list[str]:
        """All ids."""
        return [self.id_of(number) for number in range(self.backends)]

    def model_of(self, number: int) -> str:
        """The id of a model."""
        return f"family-{number % 7}/model-{number}:instruct"

    def backend(self, number: int) -> Backend:
        """A backend."""
        numbers = ((number * MODELS_EACH + offset) % self.models for offset in range(MODELS_EACH))
        models = [Model(id=self.model_of(one), context_length=32_768, supports_tools=True) for one in numbers]
        return Backend(url=f"http://{self.id_of(number)}", models=models, status=BackendStatus.HEALTHY)

    def serving(self, model: int) -> list[str]:
        """Ids of the backends that have a model."""
        apart = self.models // MODELS_EACH
        return [self.id_of(number) for number in range(model // MODELS_EACH, self.backends, apart)]

    def register(self, registry: Registry, together: int = TOGETHER) -> None:
        """Add all of them, so many in a batch."""
        for first in range(0, self.backends, together):
            numbers = range(first, min(first + together, self.backends))
            registry.batch([Registry.add_backend.call(self.backend(number)) for number in numbers], atomic=True)
