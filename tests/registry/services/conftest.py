"""The clients against a stand-in for the original registry."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.registry.services.stand_in import StandIn, serving


@pytest.fixture
def stand_in() -> StandIn:
    """A service registry as the original is."""
    return StandIn()


@pytest.fixture
def url(stand_in: StandIn) -> Iterator[str]:
    """Where it is served."""
    with serving(stand_in) as url:
        yield url
