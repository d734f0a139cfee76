"""The times and thresholds by which health is judged."""

from __future__ import annotations

import msgspec


class HealthRules(msgspec.Struct, frozen=True):
    """How health is judged; the defaults are the specifications'.

    Attributes:
        interval_s: Time between two probes of one target.
        timeout_s: Longest wait for the answer to a probe.
        failure_threshold: A healthy backend fails so many times in a row until it is not healthy any more.
        recovery_threshold: An unhealthy backend succeeds so many times in a row until it is healthy again.
        heartbeat_timeout_s: A service is healthy until its latest heartbeat is so old.
        stale_after_s: A service is removed when its latest heartbeat is older than this.
        cleanup_interval_s: Time between two looks for those.
    """

    interval_s: float = 30.0
    timeout_s: float = 5.0
    failure_threshold: int = 3
    recovery_threshold: int = 2
    heartbeat_timeout_s: float = 120.0
    stale_after_s: float = 300.0
    cleanup_interval_s: float = 60.0


DEFAULT_RULES = HealthRules()
