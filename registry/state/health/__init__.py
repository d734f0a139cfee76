"""Health: what is probed when and by whom, and what follows from what was found."""

from registry.state.health.health import Health
from registry.state.health.services import ProbedServices

__all__ = ["Health", "ProbedServices"]
