"""How long until the next probe.

Waits differ by up to a tenth, so that what began together does not stay together. The owner has no randomness: what
looks like it is derived from the name and the number of the probe.
"""

from __future__ import annotations

from hashlib import blake2b

from registry.kinds import BackendStatus
from registry.state.rules import HealthRules

QUICK_S = 1.0
"""Until a finding that may change a status is looked at again, so that a threshold takes seconds."""

WARMING_S = 5.0
"""Longest wait for one that loads its model: that takes from seconds to minutes, and ends without a sign."""

AFTER_START_S = 5.0
"""What is remembered from before a start is looked at within this time."""

JITTER = 0.1

_MOST_DOUBLINGS = 30


class Pace:
    """The waits, in seconds.

    Args:
        rules: The interval; and the thresholds, for those who ask for the pace.
    """

    def __init__(self, rules: HealthRules) -> None:
        self.rules = rules
        self.interval_s = rules.interval_s
        self.quick_s = min(QUICK_S, rules.interval_s)

    def steady(self, name: str, turn: int, *, in_step: bool) -> float:
        """The regular wait; the first one takes the target to a place of its own in the interval."""
        if in_step:
            return _about(self.interval_s, name, turn)
        return self.quick_s + (self.interval_s - self.quick_s) * _share(name, turn)

    def back_off(self, name: str, turn: int, level: int, status: BackendStatus) -> float:
        """The wait for one that is not healthy: doubled each time, up to a limit that depends on its status."""
        most_s = {
            BackendStatus.UNHEALTHY: 2 * self.interval_s,
            BackendStatus.WARMING: min(WARMING_S, self.interval_s),
        }.get(status, self.interval_s)
        return _about(min(self.quick_s * 2 ** min(level, _MOST_DOUBLINGS), most_s), name, turn)

    def backend_after_start(self, id: str) -> float:
        """The wait for a backend whose status is remembered from before a start."""
        return min(AFTER_START_S, self.interval_s) * _share(id, 0)

    def service_after_start(self, name: str) -> float:
        """The wait for a service that was there before a start."""
        return self.interval_s * _share(name, 0)


def _share(name: str, turn: int) -> float:
    """A number from 0 up to 1, as good as random, but always the same.

    No checksum will do: those of one name with two turns differ in the same bits for all names, so that whoever is
    near to each other once is so ever after.
    """
    digest = blake2b(f"{turn} {name}".encode(), digest_size=4).digest()
    return int.from_bytes(digest, "big") / 2**32


def _about(wait_s: float, name: str, turn: int) -> float:
    return wait_s * (1 - JITTER + 2 * JITTER * _share(name, turn))
